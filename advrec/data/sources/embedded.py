"""The data set that ships with advrec: what Debian source packages depend on.

A user is a source package, an item a binary package; `debian/PROVENANCE.json` says from which index
it was built and by what rules, `data/build_debian.py` builds it.

numpy and the readers are imported by what needs them: `advrec data list` does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from advrec.errors import DataError

if TYPE_CHECKING:
    from advrec.data.interactions import Interactions

EMBEDDED = ("debian",)
_FOLDER = Path(__file__).parents[1]


class ItemText(NamedTuple):
    """Debian's description of a package."""

    section: str  # such as "libs" or "python"
    description: str  # one line


def read(name: str) -> Interactions:
    """The interactions of an embedded set. Raises DataError where the installation lacks it."""
    import numpy as np

    from advrec.data.interactions import Interactions
    from advrec.data.readers.text import read_bytes

    path = _file(name, "interactions.txt.gz")
    text = load_item_text(name)
    users: list[str] = []
    rows = []
    for line in read_bytes(path).decode().splitlines():
        user, *row = line.split(" ")
        users.append(user)
        rows.append(np.array(row, dtype=np.int32))
    facts = provenance(name)
    return Interactions(
        name=name,
        source=f"embedded:{name}",
        format="embedded",
        users=np.repeat(np.arange(len(users), dtype=np.int32), [len(row) for row in rows]),
        items=np.concatenate(rows),
        user_ids=users,
        item_ids=list(text),
        names={item: item for item in text},
        notes=(
            f"embedded set {name}: {facts['what']} ({facts['release']}, index of {facts['date']})",
        ),
    )


def load_item_text(name: str = "debian") -> Mapping[str, ItemText]:
    """Section and description of each item, by item id, in the order of the item ids."""
    from advrec.data.readers.text import read_bytes

    path = _file(name, "items.tsv.gz")
    lines = read_bytes(path).decode().rstrip("\n").split("\n")
    fields = (line.split("\t") for line in lines[1:])
    return {item: ItemText(section, description) for item, section, description in fields}


def provenance(name: str = "debian") -> Mapping[str, Any]:
    """Source, date, checksum, rules and counts of an embedded set."""
    facts: dict[str, Any] = json.loads(_file(name, "PROVENANCE.json").read_text())
    return facts


def _file(name: str, file_name: str) -> Path:
    path = _FOLDER / name / file_name
    if name not in EMBEDDED or not path.is_file():
        raise DataError(
            f"embedded data set {name!r} is missing",
            path=path,
            hint=f"the embedded sets are {', '.join(EMBEDDED)}; reinstall advrec if one is missing",
        )
    return path
