"""The `advrec` command: a thin layer over the library, with words, tables and exit codes.

Nothing here computes. Every command imports the library inside its body, so that `--help` loads
neither torch nor numpy.
"""

from __future__ import annotations
