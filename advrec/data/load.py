"""From a name or a path to a `Dataset`: resolve, read, filter, split, check, describe items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from advrec.data.cache import CacheEntry
from advrec.data.config import TABLE_OPTIONS, DataConfig
from advrec.data.dataset import Dataset, Pairs
from advrec.data.filters import UniquePairs, unique_pairs
from advrec.data.interactions import TEST, TRAIN, VALID, Interactions
from advrec.data.item_features import load_features, load_names
from advrec.data.item_text import FROM_TEXT, features_of_texts, texts_of
from advrec.data.readers import frames, reader, sniff
from advrec.data.readers.compressed import plain_name
from advrec.data.readers.text import shown
from advrec.data.sources import embedded
from advrec.data.sources.catalog import CATALOG, data_home
from advrec.data.split import Rule, SplitOptions, assign_parts, choose_rule
from advrec.data.unseen import unseen_notes
from advrec.data.wording import counted
from advrec.errors import ConfigError, DataError
from advrec.validation import did_you_mean


def load_dataset(data: object = "debian", **options: object) -> Dataset:
    """Read, filter and split a data set.

    `data` is an embedded or downloaded set, a path, or a whole DataConfig; or it is in memory: a
    pandas or Polars frame, an Arrow table, or a SciPy sparse matrix of users and items. The options
    are the other fields of `DataConfig`.

    Raises ConfigError for an option that cannot be met, DataError for data that cannot be used; a
    malformed file never gives a part of its content.
    """
    if isinstance(data, DataConfig):
        config = DataConfig.of(**{**data.model_dump(), **options}) if options else data
    elif not isinstance(data, str | Path):
        config = DataConfig.of(frames.NAME, **options)
        return build_dataset(frames.read(data, config), config)
    else:
        config = DataConfig.of(str(data), **options)
    entry = CacheEntry.of(config, resolve(config.data)[0])
    if entry is None:
        return finish(divide(read_interactions(config), config), config)
    return finish(entry.obtain(lambda: divide(read_interactions(config), config)), config)


def read_interactions(config: DataConfig) -> Interactions:
    """The rows as the files have them; the notes say how they were understood."""
    path, notes = resolve(config.data)
    if path is None:
        _refuse_table_options(config)
        rows = embedded.read(config.data)
        return replace(rows, notes=(*notes, *rows.notes))
    chosen = sniff.plan(path, config)
    read = reader(chosen.format)
    name = path.resolve().name
    if path.is_file():
        name = plain_name(name).rpartition(".")[0] or plain_name(name)
    rows = read(chosen.files, config, name=name, source=config.data)
    return replace(rows, notes=(*notes, *chosen.why, *rows.notes))


def resolve(data: str) -> tuple[Path | None, tuple[str, ...]]:
    """The path that a name stands for, None for an embedded set, and notes. Raises DataError."""
    path = _path_of(data)
    if data in embedded.EMBEDDED:
        if path.exists():
            return None, (f"the embedded set {data}; ./{data} is the file of that name",)
        return None, ()
    if path.exists():
        return path, ()
    home = data_home() / data
    if data in CATALOG:
        if home.is_dir():
            return home, (f"{data}: downloaded, in {home}",)
        raise DataError(
            f"the data set {data} is not on this machine",
            hint=f"advrec data download {data}",
        )
    known = [*embedded.EMBEDDED, *CATALOG]
    raise DataError(
        "no such file, folder or data set",
        path=data,
        hint=did_you_mean(data, known) or "advrec data list shows the known ones",
    )


def _path_of(data: str) -> Path:
    """The path of this name, whether it exists or not. Raises DataError where none can be."""
    try:
        path = Path(data).expanduser()
        path.exists()
    except OSError as error:
        shortened = data if len(data) <= 80 else f"{data[:60]}…"
        raise DataError(f"cannot be read ({error.strerror or error})", path=shortened) from None
    except RuntimeError:
        raise DataError("there is no such user, whose folder ~ is", path=data) from None
    return path


def build_dataset(rows: Interactions, config: DataConfig) -> Dataset:
    """Filter and split interactions that are already read, check them, add names and features."""
    return finish(divide(rows, config), config)


def divide(rows: Interactions, config: DataConfig) -> Dataset:
    """Filter and split. Item names are the ones that the rows have; nothing is checked yet."""
    pairs = unique_pairs(rows, min_rating=config.min_rating, k_core=config.k_core)
    return divide_pairs(rows, pairs, config)


def divide_pairs(rows: Interactions, pairs: UniquePairs, config: DataConfig) -> Dataset:
    """Split pairs that are filtered already; `rows` are what they come from."""
    rule = rule_for(rows, pairs, config)
    options = SplitOptions(
        rule, config.test_ratio, config.valid_ratio, config.valid == "auto", config.split_seed
    )
    parts, split_notes = assign_parts(pairs, options, source=rows.source)
    n_users, n_items = len(pairs.user_ids), len(pairs.item_ids)

    def part(which: int) -> Pairs:
        chosen = np.flatnonzero(parts == which)
        return Pairs.from_coo(pairs.users[chosen], pairs.items[chosen], n_users, n_items)

    names = rows.names
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
        item_names=None if names is None else [names.get(item, item) for item in pairs.item_ids],
        split=rule,
        notes=(*rows.notes, *pairs.notes, *split_notes),
    )


def rule_for(rows: Interactions, pairs: UniquePairs, config: DataConfig) -> Rule:
    """The split rule that these options mean for these files."""
    return choose_rule(
        config.split,
        given=pairs.parts is not None,
        embedded=rows.format == "embedded",
        timestamps=pairs.timestamps is not None,
    )


def finish(dataset: Dataset, config: DataConfig) -> Dataset:
    """The data set with its held-out parts checked, and the names and features of the options.

    Raises DataError for a part that is all new to training (see `unseen_notes`), and for files
    of names or features that cannot be used.
    """
    unseen = unseen_notes(dataset, items_have_features=config.features is not None)
    items = describe_items(config, dataset.item_ids, dataset.item_names)
    return replace(
        dataset,
        item_names=items.names,
        item_features=items.features,
        notes=(*dataset.notes, *unseen, *items.notes),
    )


class ItemDescriptions(NamedTuple):
    """Names and features of items, in the order of their ids, and where they come from."""

    names: Sequence[str] | None  # [I]
    features: NDArray[np.float32] | None  # [I, F]
    notes: tuple[str, ...]


def describe_items(
    config: DataConfig, item_ids: Sequence[str], own_names: Sequence[str] | None
) -> ItemDescriptions:
    """The names and features that the options ask for; without such options the data's own names.

    Raises DataError for a file that cannot be used, ConfigError for text that items do not have.
    """
    notes: list[str] = []
    shown_names = own_names
    by_id: Mapping[str, str] | None = None
    if config.item_names is not None:
        by_id = load_names(Path(config.item_names))
        missing = sum(item not in by_id for item in item_ids)
        if missing == len(item_ids):
            raise DataError(
                f"no item of the data has a name here; its ids are like {shown(item_ids[0])}",
                path=config.item_names,
            )
        sentence = f"item names from {config.item_names}"
        if missing:
            sentence += f"; none for {missing:,} of {counted(len(item_ids), 'item')}"
        notes.append(sentence)
        shown_names = [by_id.get(item, item) for item in item_ids]
    elif own_names is not None:  # a name equal to the id does not count
        both = zip(item_ids, own_names, strict=True)
        by_id = {item: name for item, name in both if item != name}
    features = None
    if config.features == FROM_TEXT:
        features, sentence = features_of_texts(texts_of(config.data, by_id), item_ids)
        notes.append(sentence)
    elif config.features is not None:
        features, sentence = load_features(Path(config.features), item_ids)
        notes.append(sentence)
    return ItemDescriptions(shown_names, features, tuple(notes))


def _refuse_table_options(config: DataConfig) -> None:
    for option in TABLE_OPTIONS:
        if getattr(config, option):
            raise ConfigError(f"{option} does not apply to the embedded set {config.data}")
    if config.format != "auto":
        raise ConfigError(
            f"format {config.format} does not apply to the embedded set {config.data}"
        )
