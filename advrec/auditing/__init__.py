"""The audit: attacks, certificates and practical noise of trained models, in one document."""
