"""What advrec needs of the operating system: files, locks, signals, folders, the machine."""
