"""One file per claim: a TITLE and `run(lab)`."""
