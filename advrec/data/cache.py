"""A cache of data sets that are read and split, so that large text is parsed once.

An entry is keyed by everything that decides its content: the data options, the files with their
sizes and times, and the reading code itself. It is checked by the digest of its data set; a damaged
entry counts as absent. Features, and item names from a file of their own, are added after loading.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advrec.data.config import DataConfig
from advrec.data.dataset import Dataset, Pairs
from advrec.data.readers.arrow import parts_of
from advrec.data.readers.movielens import TITLE_FILES
from advrec.data.sources import embedded
from advrec.errors import AdvrecError
from advrec.system import files
from advrec.system.folders import cache_home
from advrec.system.locks import one_at_a_time

WORTHWHILE = 1 << 20  # bytes; reading smaller files takes no longer than reading an entry
LIMIT = 4 << 30  # bytes of all entries together
SETTLED = 2.0  # seconds; a file changed more recently may change again without a new time
LATER = ("data", "features", "item_names")  # options that an entry does not depend on
PARTS = ("train", "valid", "test")
SEPARATOR = "\0"  # between ids: no text file holds it


def folder() -> Path | None:
    """The folder of the entries; None with ADVREC_DATA_CACHE=off."""
    return None if os.environ.get("ADVREC_DATA_CACHE") == "off" else cache_home() / "datasets"


class CacheEntry(NamedTuple):
    """The place of one data set in the cache, whether or not it holds anything."""

    path: Path
    source: str  # as the user spells it today

    @classmethod
    def of(cls, config: DataConfig, source: Path | None) -> CacheEntry | None:
        """The entry of these options and this path; None where caching would not help."""
        home = folder()
        if home is None or source is None or config.data in embedded.EMBEDDED:
            return None
        try:
            looks = [(str(path), *_look(path)) for path in _files(source)]
        except OSError:
            return None  # the reader reports it
        sizes, times = [size for _, size, _ in looks], [changed for *_, changed in looks]
        if sum(sizes) < WORTHWHILE or time.time() - max(times) / 1e9 < SETTLED:
            return None
        options = {k: v for k, v in config.model_dump().items() if k not in LATER}
        key = json.dumps([str(source.resolve()), looks, options, _code()])
        name = f"{source.name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
        return cls(home / f"{name}.safetensors", config.data)

    def obtain(self, make: Callable[[], Dataset]) -> Dataset:
        """The cached data set, or what `make` gives, which is kept.

        Of two processes that need the same one, the second waits for the first.
        """
        dataset = self.read()
        if dataset is not None:
            return dataset
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, AdvrecError):  # then both make it
                self.path.parent.mkdir(parents=True, exist_ok=True)
                lock = one_at_a_time(self.path.with_suffix(".lock"), f"{self.source} to be read")
                if stack.enter_context(lock) and (dataset := self.read()) is not None:
                    return dataset
            dataset = make()
            self.write(dataset)
        return dataset

    def read(self) -> Dataset | None:
        """The cached data set; None if there is none, or one that cannot be trusted."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="np") as file:
                about = json.loads(file.metadata()["advrec"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about["source"] = self.source
            about["notes"].append(f"read before: taken from {self.path}")
            dataset = _unpacked(about, arrays)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        if dataset.digest != about["digest"]:
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # the least recently read entries are dropped first
        return dataset

    def write(self, dataset: Dataset) -> None:
        """Keep a data set. Failing to write is not an error: the next load is only slower."""
        from safetensors.numpy import save

        packed = _packed(dataset)
        if packed is None:
            return
        about, arrays = packed
        with contextlib.suppress(OSError, AdvrecError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write(self.path, save(arrays, {"advrec": json.dumps(about)}))
            _drop_oldest(self.path.parent, LIMIT)


def _packed(dataset: Dataset) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """None for ids or names that cannot be separated once they are joined."""
    about = {
        "name": dataset.name,
        "split": dataset.split,
        "notes": list(dataset.notes),
        "digest": dataset.digest,
    }
    arrays: dict[str, NDArray[Any]] = {}
    for part in PARTS:
        pairs: Pairs = getattr(dataset, part)
        arrays[f"{part}.indptr"], arrays[f"{part}.items"] = pairs.indptr, pairs.items
    for name in ("user_ids", "item_ids", "item_names"):
        strings: Sequence[str] | None = getattr(dataset, name)
        if strings is None:
            continue
        joined = SEPARATOR.join(strings)
        if not strings or joined.count(SEPARATOR) != len(strings) - 1:
            return None
        arrays[name] = np.frombuffer(joined.encode(), dtype=np.uint8)
    return about, arrays


def _unpacked(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Dataset:
    strings = {
        name: arrays[name].tobytes().decode().split(SEPARATOR)
        for name in ("user_ids", "item_ids", "item_names")
        if name in arrays
    }
    n_users, n_items = len(strings["user_ids"]), len(strings["item_ids"])
    train, valid, test = (
        Pairs(arrays[f"{part}.indptr"], arrays[f"{part}.items"], n_items) for part in PARTS
    )
    return Dataset(
        name=about["name"],
        source=about["source"],
        n_users=n_users,
        n_items=n_items,
        train=train,
        valid=valid,
        test=test,
        user_ids=strings["user_ids"],
        item_ids=strings["item_ids"],
        item_names=strings.get("item_names"),
        split=about["split"],
        notes=tuple(about["notes"]),
    )


def _files(source: Path) -> list[Path]:
    """Every file that a reader may look at: those of the folder, or the one and its titles."""
    if source.is_dir():
        inside = sorted(source.iterdir())
        parts = (part for path in inside if path.is_dir() for part in parts_of(path))
        return [*(path for path in inside if path.is_file()), *parts]
    titles = (source.parent / name for name in TITLE_FILES)
    return [source, *(path for path in titles if path.is_file())]


def _look(path: Path) -> tuple[int, int]:
    """Size in bytes, and the time of the last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _code() -> list[tuple[str, int, int]]:
    """The state of the code that reads and splits, the compiled reader included."""
    here = Path(__file__).parent
    code = [*here.rglob("*.py"), *here.parent.glob("_host*")]
    return [(path.name, *_look(path)) for path in sorted(code)]


def _drop_oldest(home: Path, limit: int) -> None:
    """Remove entries, the least recently used first, until the rest fits."""
    entries = sorted(home.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in entries)
    for path in entries[:-1]:  # the newest stays, however large
        if total <= limit:
            return
        total -= path.stat().st_size
        path.unlink(missing_ok=True)
