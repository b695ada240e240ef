"""From raw readings to the joules of a window: sampling, interpolation, device locks and sessions."""
