"""Measures advrec against what its users would pick instead: `python -m bench`.

One module a claim, each with a TITLE and `run(lab)`. Project and peers take turns in one process on
the same data; a comparison of results stands beside every timing. How and why: NOTES.md.
"""
