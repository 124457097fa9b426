"""Options of a training, as given and as resolved."""
