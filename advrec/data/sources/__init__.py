"""Where data sets come from: embedded, downloaded, synthetic."""
