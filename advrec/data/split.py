"""Which pairs are trained on, validated on and tested on.

Every rule gives each pair one part, is a pure function of the pairs and the seed, and holds the
validation part out of train. Random choices come from the raw 64-bit stream of numpy's PCG64, which
numpy keeps the same over its versions and platforms (its `Generator` methods it does not).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from advrec.data.filters import UniquePairs
from advrec.data.interactions import TEST, TRAIN, VALID
from advrec.errors import ConfigError, DataError

Rule = Literal["given", "random", "loo-time", "loo-random", "global-time"]


def choose_rule(wanted: str, *, given: bool, embedded: bool, timestamps: bool) -> Rule:
    """What split `auto` means for these files; any other wish is passed on as it is."""
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if given:
        return "given"
    if embedded:
        return "loo-random"
    return "loo-time" if timestamps else "random"


def assign_parts(
    pairs: UniquePairs,
    rule: Rule,
    *,
    test_ratio: float,
    valid_ratio: float,
    valid: bool,
    seed: int,
    source: str,
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """The part of each pair, and what to say about it.

    Raises ConfigError where the files lack what the rule needs, DataError where nothing is left to
    test on.
    """
    n_users = len(pairs.user_ids)
    if rule in ("loo-time", "global-time") and pairs.timestamps is None:
        raise ConfigError(
            f"split {rule} needs timestamps, {source} has none",
            hint="name the column with timestamp_col, or take split loo-random or random",
        )
    if rule == "given":
        parts, notes = _given(pairs, n_users, valid_ratio, valid, seed, source)
    elif rule == "global-time":
        parts, notes = _global_time(pairs, test_ratio, valid_ratio, valid)
    else:
        parts, notes = _per_user(pairs, rule, n_users, test_ratio, valid_ratio, valid, seed)
    if not (parts == TEST).any():
        raise DataError(
            f"split {rule} leaves no pair to test on ({len(parts):,} pairs, {n_users:,} users)",
            path=source,
            hint="every user with a single pair keeps it in train; take another split",
        )
    if not (parts == TRAIN).any():
        raise DataError(f"split {rule} leaves no pair to train on", path=source)
    return parts, notes


def _given(
    pairs: UniquePairs, n_users: int, ratio: float, valid: bool, seed: int, source: str
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    if pairs.parts is None:
        raise ConfigError(
            f"split given: {source} is not split into train and test",
            hint="give a folder with train.* and test.*, or take another split",
        )
    parts = pairs.parts.copy()
    if (parts == VALID).any():
        if valid:
            return parts, ("split: given, with its own validation part",)
        parts[parts == VALID] = TRAIN
        return parts, ("split: given; its validation part is trained on",)
    if not valid:
        return parts, ("split: given, no validation part",)
    train = np.flatnonzero(parts == TRAIN)
    rank, degree = _ranks(pairs.users[train], n_users, (_random_keys(len(train), seed),))
    parts[train[rank < _share(degree, ratio)]] = VALID
    return parts, (
        f"split: given; validation is {ratio:g} of each user's train pairs, at random (seed {seed})",
    )


def _per_user(
    pairs: UniquePairs,
    rule: Rule,
    n_users: int,
    test_ratio: float,
    valid_ratio: float,
    valid: bool,
    seed: int,
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Walk each user's pairs in some order: the first are tested on, the next validated on."""
    if rule == "loo-time":
        assert pairs.timestamps is not None
        order: tuple[NDArray[np.generic], ...] = (-pairs.order, -pairs.timestamps)
    else:
        order = (_random_keys(len(pairs.users), seed),)
    rank, degree = _ranks(pairs.users, n_users, order)
    if rule == "random":
        n_test = _share(degree, test_ratio)
        n_valid = _share(degree - n_test, valid_ratio)
    else:
        n_test = np.minimum(degree - 1, 1)
        n_valid = np.minimum(degree - n_test - 1, 1)
    if not valid:
        n_valid = np.zeros_like(n_valid)
    parts = np.full(len(pairs.users), TRAIN, dtype=np.int8)
    parts[rank < n_test + n_valid] = VALID
    parts[rank < n_test] = TEST
    if rule == "random":
        said = f"{test_ratio:g} of each user's pairs tested on"
        said += f", {valid_ratio:g} of the rest validated on" if valid else ", no validation part"
    else:
        which = "latest" if rule == "loo-time" else "randomly chosen"
        said = f"each user's {which} pair tested on"
        said += ", the next one validated on" if valid else ", no validation part"
    said += "" if rule == "loo-time" else f" (seed {seed})"
    return parts, (f"split: {rule}; {said}",)


def _global_time(
    pairs: UniquePairs, test_ratio: float, valid_ratio: float, valid: bool
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    assert pairs.timestamps is not None
    total = len(pairs.users)
    n_test = int(_share(np.array([total]), test_ratio)[0])
    n_valid = int(_share(np.array([total - n_test]), valid_ratio)[0]) if valid else 0
    by_time = np.lexsort((pairs.order, pairs.timestamps))
    parts = np.full(total, TRAIN, dtype=np.int8)
    parts[by_time[total - n_test - n_valid :]] = VALID
    parts[by_time[total - n_test :]] = TEST
    notes = [f"split: global-time; the latest {test_ratio:g} of all pairs tested on"]
    notes[0] += f", {valid_ratio:g} before them validated on" if valid else ", no validation part"
    trained = np.zeros(len(pairs.user_ids), dtype=np.bool_)
    trained[pairs.users[parts == TRAIN]] = True
    cold = int((~trained[pairs.users[parts == TEST]]).sum())
    if cold:
        notes.append(f"{cold:,} of {n_test:,} test pairs are of users without a train pair")
    return parts, tuple(notes)


def _random_keys(count: int, seed: int) -> NDArray[np.uint64]:
    return np.random.PCG64(seed).random_raw(count)


def _ranks(
    users: NDArray[np.int32], n_users: int, order: tuple[NDArray[np.generic], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each pair's place within its user (by the last key of `order` first), and its user's degree."""
    degrees = np.bincount(users, minlength=n_users).astype(np.int64)
    starts = np.cumsum(degrees) - degrees
    sorted_pairs = np.lexsort((*order, users))
    rank = np.empty(len(users), dtype=np.int64)
    rank[sorted_pairs] = np.arange(len(users)) - starts[users[sorted_pairs]]
    return rank, degrees[users]


def _share(degree: NDArray[np.int64], ratio: float) -> NDArray[np.int64]:
    """`ratio` of a degree, rounded half up: at least 1 of two or more, and never the last one."""
    wanted = np.floor(degree * ratio + 0.5).astype(np.int64)
    least = (degree >= 2).astype(np.int64)
    return np.clip(wanted, least, np.maximum(degree - 1, 0))
