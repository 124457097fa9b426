"""Ranking metrics of a model: full and sampled ranking, and top-k recommendations."""
