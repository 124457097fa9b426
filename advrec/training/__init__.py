"""From options to a trained run: the loop, and the tiers that make the steps."""
