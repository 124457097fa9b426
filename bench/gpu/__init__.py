"""Measurements on a CUDA device: `python -m bench.gpu`, or `make gpu-bench`."""
