"""Perturbations: their norms, the loss they maximise, and attacks on a trained model."""
