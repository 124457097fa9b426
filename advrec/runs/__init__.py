"""The run folder: what a training leaves on disk, and how it is found and read back."""
