"""What made a run: versions, and the git revision when advrec runs from a checkout of its own."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

VERSION = "0.1.0"
"""Of advrec: the package's metadata and `advrec.__version__` take it from here."""


def versions() -> dict[str, str]:
    """`[versions]` of config.toml."""
    known = {
        "advrec": VERSION,
        "torch": torch_version(),
        "python": platform.python_version(),
    }
    revision = git_revision()
    return known if revision is None else {**known, "git": revision}


def torch_version() -> str:
    """As installed, from the package's metadata: importing torch takes a second."""
    from importlib import metadata

    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:  # torch on the path, but not installed as a package
        import torch

        return str(torch.__version__)


def git_revision() -> str | None:
    """The commit of the checkout that advrec runs from, "+changes" behind it if it was edited.

    None for an installed advrec, also where the environment happens to lie in another repository.
    """
    home = Path(__file__).resolve().parent.parent
    top = _git(home, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != home:
        return None
    revision = _git(home, "rev-parse", "HEAD")
    if revision is None:  # a repository without a commit
        return None
    changes = _git(home, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+changes" if changes else revision


def _git(folder: Path, *words: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
