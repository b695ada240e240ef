"""Units and limits that the whole package shares: nanoseconds, microjoules and milliwatts, all whole numbers."""

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
PER_MICROJOULE = 1_000_000  # milliwatt nanoseconds

# A counter with a period up to this is used as it is read; a slower one is interpolated at the edges of a window.
FAST = 5 * MILLISECOND

# Power limit assumed for one socket, memory or GPU where nothing is known of the device.
MOST_MILLIWATTS = 1_000_000
