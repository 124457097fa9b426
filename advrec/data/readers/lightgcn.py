"""LightGCN text: one line per user, `user item item …`, ids whole numbers from 0.

A folder with train.txt and test.txt (and valid.txt, if there is one) is a given split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.data.interactions import Interactions
from advrec.data.readers.merge import Part, merge
from advrec.data.readers.structure import Text
from advrec.data.readers.text import parse_lists, read_bytes
from advrec.data.wording import counted


def read(
    files: Mapping[int | None, Path],
    config: DataConfig,  # noqa: ARG001 - every reader gets it
    *,
    name: str,
    source: str,
) -> Interactions:
    """Read one file, or those of a split. Raises DataError with file and line.

    A user may have several lines, or a line without items. Lines at the top that begin with
    # or % are comments.
    """
    parts = []
    notes = []
    for part, path in files.items():
        text = Text(path, read_bytes(path))
        lists = parse_lists(path, text.without_comments())
        if text.comments:
            comments = counted(len(text.comments), "comment line")
            notes.append(f"{path.name}: {comments} skipped")
        parts.append(Part(part, lists.users, lists.items, lists.user_ids, lists.item_ids))
        users = len(lists.user_ids)
        if lists.lines > users:
            lines = counted(lists.lines, "line")
            notes.append(f"{path.name}: {lines} for {counted(users, 'user')}, joined by user")
    return merge(parts, name=name, source=source, format="lightgcn", notes=notes)
