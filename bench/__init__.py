"""Measures advrec against what its users would pick instead: `python -m bench`.

One module per claim, each with a TITLE and `run(lab)`. Project and peers take turns in one process
on the same data; every timing comes with a comparison of results. How and why: NOTES.md.
"""
