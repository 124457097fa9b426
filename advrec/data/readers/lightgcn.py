"""LightGCN text: one line a user, `user item item …`, ids whole numbers from 0.

A folder with train.txt and test.txt (and valid.txt, if there is one) is a given split.
"""

from __future__ import annotations

from pathlib import Path

from advrec.data.readers.merge import Part, merge
from advrec.data.text import parse_lists, read_bytes
from advrec.data.interactions import Interactions


def read(files: dict[int | None, Path], *, name: str, source: str) -> Interactions:
    """Read the files of a split, or one file under the key None. Raises DataError."""
    parts = []
    notes = []
    for part, path in files.items():
        lists = parse_lists(path, read_bytes(path))
        parts.append(Part(part, lists.users, lists.items, lists.user_ids, lists.item_ids))
        if lists.lines > len(lists.user_ids):
            more = lists.lines - len(lists.user_ids)
            notes.append(f"{path.name}: {more:,} lines go on with a user of an earlier line")
    return merge(parts, name=name, source=source, format="lightgcn", notes=notes)
