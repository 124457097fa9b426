"""Running `advrec` inside the test process, and a csv file for it to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from typer.testing import CliRunner

from advrec_cli.main import app


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def advrec(*args: object, env: dict[str, str] | None = None) -> Outcome:
    """`advrec ARGS` without a terminal; columns enough that no line of help is broken."""
    result = CliRunner().invoke(
        app, [str(arg) for arg in args], prog_name="advrec", env={"COLUMNS": "160", **(env or {})}
    )
    return Outcome(result.exit_code, result.stdout, result.stderr)


def write_ratings(path: Path, users: int = 40, items: int = 30, seed: int = 0) -> Path:
    """user,item,rating,timestamp: users like the items whose taste is theirs."""
    rng = np.random.default_rng(seed)
    tastes = rng.random((users, 4)) ** 3, rng.random((items, 4)) ** 3
    liked = np.argsort(-(tastes[0] @ tastes[1].T), axis=1)[:, :10]
    rows = [
        f"user {user},item-{item},{rng.integers(1, 6)},{1_000_000_000 + rng.integers(10**6)}"
        for user in range(users)
        for item in liked[user]
    ]
    path.write_text("\n".join(["user,item,rating,timestamp", *rows]) + "\n")
    return path
