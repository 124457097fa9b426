"""`python -m advrec_cli`: the same command if the script is not on the path."""

from __future__ import annotations

import sys

from advrec_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
