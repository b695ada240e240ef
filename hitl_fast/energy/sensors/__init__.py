"""Sources of energy readings: RAPL, NVML, and which of their devices this process may count."""
