"""Results as tables and figures, and the statistics in them."""
