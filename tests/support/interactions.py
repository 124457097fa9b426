"""Interactions read in a test, as plain pairs and messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from advrec.data import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.load import read_interactions
from advrec.errors import AdvrecError


def read(path: Path, **options: object) -> Interactions:
    """The rows of a file."""
    return read_interactions(DataConfig.of(str(path), **options))


def pairs(rows: Interactions) -> list[tuple[str, str]]:
    """(user, item) of each row."""
    users = [rows.user_ids[code] for code in rows.users.tolist()]
    return list(zip(users, [rows.item_ids[code] for code in rows.items.tolist()], strict=True))


def refusal(path: Path, **options: object) -> str:
    """The error of a file that is refused, FILE for its path, with the hint."""
    with pytest.raises(AdvrecError) as caught:
        read(path, **options)
    message = str(caught.value).replace(str(path), "FILE")
    return message if caught.value.hint is None else f"{message} | {caught.value.hint}"
