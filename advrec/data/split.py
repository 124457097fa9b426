"""Which pairs are for training, for validation and for testing.

Every rule gives each pair one part, is a pure function of the pairs and the seed, and holds the
validation part out of train. Random choices come from the raw 64-bit stream of numpy's PCG64, which
numpy keeps the same across versions and platforms (it does not for its `Generator` methods).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from advrec.data.filters import UniquePairs
from advrec.data.interactions import TEST, TRAIN, VALID
from advrec.data.wording import counted
from advrec.errors import ConfigError, DataError

Rule = Literal["given", "random", "loo-time", "loo-random", "global-time"]

WARN_ABOVE = 0.1  # share of users whose latest pair is not the only one of its time


def choose_rule(split: str, *, given: bool, embedded: bool, timestamps: bool) -> Rule:
    """What split `auto` means for these files; any other split stays as it is."""
    if split != "auto":
        return split  # type: ignore[return-value]
    if given:
        return "given"
    if embedded:
        return "loo-random"
    return "loo-time" if timestamps else "random"


@dataclass(frozen=True)
class SplitOptions:
    """A rule and its parameters."""

    rule: Rule
    test_ratio: float = 0.2
    valid_ratio: float = 0.1
    valid: bool = True  # hold a validation part out of train
    seed: int = 0


def assign_parts(
    pairs: UniquePairs, options: SplitOptions, *, source: str
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """The part of each pair, and sentences on how they were chosen.

    Raises ConfigError where the files lack what the rule needs, DataError where the timestamps are
    all the same, or nothing is left to train or to test on.
    """
    rule = options.rule
    if rule in ("loo-time", "global-time") and pairs.timestamps is None:
        raise ConfigError(
            f"split {rule} needs timestamps, {source} has none",
            hint="name the column with timestamp_col, or use split loo-random or random",
        )
    if rule in ("loo-time", "global-time"):
        _check_times_differ(pairs, rule, source)
    if rule == "given" and pairs.parts is None:
        raise ConfigError(
            f"split given: {source} is not split into train and test",
            hint="give a folder with train.* and test.*, or use another split",
        )
    if rule == "given":
        parts, notes = _given(pairs, options)
    elif rule == "global-time":
        parts, notes = _global_time(pairs, options)
    else:
        parts, notes = _per_user(pairs, options)
    for part, purpose in ((TEST, "test"), (TRAIN, "train")):
        if not (parts == part).any():
            raise DataError(
                f"split {rule} leaves no pair to {purpose} on "
                f"({counted(len(parts), 'pair')}, {counted(len(pairs.user_ids), 'user')})",
                path=source,
                hint="a user with a single pair keeps it in train; is this all of the data?",
            )
    return parts, notes


def _given(pairs: UniquePairs, options: SplitOptions) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    assert pairs.parts is not None
    parts = pairs.parts.copy()
    if (parts == VALID).any():
        if options.valid:
            return parts, ("split: given, with its own validation part",)
        parts[parts == VALID] = TRAIN
        return parts, ("split: given; its validation part is trained on",)
    if not options.valid:
        return parts, ("split: given, no validation part",)
    train = np.flatnonzero(parts == TRAIN)
    keys = _random_keys(len(train), options.seed)
    rank, degree = _ranks(pairs.users[train], len(pairs.user_ids), (keys,))
    parts[train[rank < _share(degree, options.valid_ratio)]] = VALID
    share = f"{options.valid_ratio:g} of each user's train pairs"
    return parts, (f"split: given; validation is {share}, at random (seed {options.seed})",)


def _per_user(
    pairs: UniquePairs, options: SplitOptions
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Walk each user's pairs in some order: the first are tested on, the next validated on."""
    rule = options.rule
    if rule == "loo-time":
        assert pairs.timestamps is not None
        order: tuple[NDArray[np.generic], ...] = (-pairs.order, -pairs.timestamps)
    else:
        order = (_random_keys(len(pairs.users), options.seed),)
    rank, degree = _ranks(pairs.users, len(pairs.user_ids), order)
    if rule == "random":
        n_test = _share(degree, options.test_ratio)
        n_valid = _share(degree - n_test, options.valid_ratio)
        test = f"{options.test_ratio:g} of each user's pairs tested on"
        valid = f"{options.valid_ratio:g} of the rest validated on"
    else:
        n_test = np.clip(degree - 1, 0, 1)
        n_valid = np.clip(degree - n_test - 1, 0, 1)
        which = "latest" if rule == "loo-time" else "randomly chosen"
        test = f"each user's {which} pair tested on"
        valid = "the next one validated on"
    if not options.valid:
        n_valid = np.zeros_like(n_valid)
        valid = "no validation part"
    parts = np.full(len(pairs.users), TRAIN, dtype=np.int8)
    parts[rank < n_test + n_valid] = VALID
    parts[rank < n_test] = TEST
    if rule == "loo-time":
        assert pairs.timestamps is not None
        ties = _tie_notes(pairs.timestamps, pairs.users, rank)
        return parts, (f"split: {rule}; {test}, {valid}", *ties)
    return parts, (f"split: {rule}; {test}, {valid} (seed {options.seed})",)


def _check_times_differ(pairs: UniquePairs, rule: str, source: str) -> None:
    times = pairs.timestamps
    if times is not None and len(times) > 1 and (times == times[0]).all():
        raise DataError(
            f"split {rule} needs an order in time, but all {len(times):,} timestamps are "
            f"{times[0]:.15g}",
            path=source,
            hint="use split loo-random or random, or name another column with timestamp_col",
        )


def _tie_notes(
    times: NDArray[np.float64],  # [P]
    users: NDArray[np.int32],  # [P]
    rank: NDArray[np.int64],  # [P] place within the user, the latest first
) -> tuple[str, ...]:
    """How many users have a latest pair only because it is further down in the file."""
    last, before = np.flatnonzero(rank == 0), np.flatnonzero(rank == 1)  # both ascend by user
    last = last[np.isin(users[last], users[before])]
    tied = int((times[last] == times[before]).sum())
    if not tied:
        return ()
    share = tied / len(last)
    sentence = (
        f"the last two pairs of {tied:,} of {counted(len(last), 'user')} ({share:.0%}) have the "
        "same timestamp: of these, the one further down in the file is taken as the later"
    )
    return (f"warning: {sentence}" if share > WARN_ABOVE else sentence,)


def _global_time(
    pairs: UniquePairs, options: SplitOptions
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    assert pairs.timestamps is not None
    total = len(pairs.users)
    n_test = int(_share(np.array([total]), options.test_ratio)[0])
    n_valid = int(_share(np.array([total - n_test]), options.valid_ratio)[0])
    test = f"the latest {options.test_ratio:g} of all pairs tested on"
    valid = f"{options.valid_ratio:g} of the rest before them validated on"
    if not options.valid:
        n_valid = 0
        valid = "no validation part"
    by_time = np.lexsort((pairs.order, pairs.timestamps))
    parts = np.full(total, TRAIN, dtype=np.int8)
    parts[by_time[total - n_test - n_valid :]] = VALID
    parts[by_time[total - n_test :]] = TEST
    return parts, (f"split: global-time; {test}, {valid}",)


def _random_keys(count: int, seed: int) -> NDArray[np.uint64]:
    keys: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(count)
    return keys


def _ranks(
    users: NDArray[np.int32], n_users: int, order: tuple[NDArray[np.generic], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each pair's place within its user (the last of `order` first), and its user's degree."""
    degrees = np.bincount(users, minlength=n_users).astype(np.int64)
    starts = np.cumsum(degrees) - degrees
    sorted_pairs = np.lexsort((*order, users))
    rank = np.empty(len(users), dtype=np.int64)
    rank[sorted_pairs] = np.arange(len(users)) - starts[users[sorted_pairs]]
    return rank, degrees[users]


def _share(degree: NDArray[np.int64], ratio: float) -> NDArray[np.int64]:
    """`ratio` of a degree, rounded half up: at least 1 of two or more, and never the last one."""
    rounded = np.floor(degree * ratio + 0.5).astype(np.int64)
    at_least_one = np.maximum(rounded, degree >= 2)
    share: NDArray[np.int64] = np.minimum(at_least_one, np.maximum(degree - 1, 0))
    return share
