"""The `advrec` command: a thin face on the library that knows words, tables and exit codes.

Nothing here computes. Every command imports the library inside its body, so that `--help`
answers at once and torch is loaded only when there is work for it.
"""

from __future__ import annotations
