"""What is asked of the operating system: files, locks, signals, folders, the machine."""
