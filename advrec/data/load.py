"""From a name or a path to a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advrec.data.config import DataConfig
from advrec.data.dataset import Dataset, Pairs
from advrec.data.filters import unique_pairs
from advrec.data.interactions import TEST, TRAIN, VALID, Interactions
from advrec.data.readers import lightgcn
from advrec.data.split import assign_parts, choose_rule


def read_interactions(config: DataConfig) -> Interactions:
    folder = Path(config.data)
    files: dict[int | None, Path] = {TRAIN: folder / "train.txt", TEST: folder / "test.txt"}
    return lightgcn.read(files, name=folder.name, source=config.data)


def load_dataset(data: str | Path | DataConfig = "debian", **options: object) -> Dataset:
    """Read, filter and split a data set; the options are the fields of `DataConfig`.

    Raises ConfigError for an option that cannot be met, DataError for files that cannot be used.
    """
    config = data if isinstance(data, DataConfig) else DataConfig.of(str(data), **options)
    rows = read_interactions(config)
    return build_dataset(rows, config)


def build_dataset(rows: Interactions, config: DataConfig) -> Dataset:
    """Filter and split interactions that are already read."""
    pairs = unique_pairs(rows, min_rating=config.min_rating, k_core=config.k_core)
    rule = choose_rule(
        config.split,
        given=pairs.parts is not None,
        embedded=rows.format == "embedded",
        timestamps=pairs.timestamps is not None,
    )
    parts, split_notes = assign_parts(
        pairs,
        rule,
        test_ratio=config.test_ratio,
        valid_ratio=config.valid_ratio,
        valid=config.valid == "auto",
        seed=config.split_seed,
        source=rows.source,
    )
    n_users, n_items = len(pairs.user_ids), len(pairs.item_ids)

    def part(which: int) -> Pairs:
        mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = parts == which
        return Pairs.from_coo(pairs.users[mask], pairs.items[mask], n_users, n_items)

    return Dataset(
        name=rows.name,
        source=rows.source,
        n_users=n_users,
        n_items=n_items,
        train=part(TRAIN),
        valid=part(VALID),
        test=part(TEST),
        user_ids=pairs.user_ids,
        item_ids=pairs.item_ids,
        item_names=None,
        item_features=None,
        notes=(*rows.notes, *pairs.notes, *split_notes),
    )
