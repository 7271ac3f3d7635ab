"""Files, processes, signals and devices: everything near the operating system."""
