"""The options of a training: as given, as a file holds them, as resolved for a model."""
