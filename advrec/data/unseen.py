"""Held-out users and items that no training pair has: a model has learned nothing about them.

A few of them are normal. If all are unknown, train and test are not about the same things, most
often because one side spells its ids differently (`1.0` or `00001` in train, `1` in test); every
figure would then look plausible and mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from advrec.data.dataset import Dataset
from advrec.data.readers.text import shown
from advrec.data.wording import counted
from advrec.errors import DataError

WARN_ABOVE = 0.1  # share of a part's users or items without a training pair
COMPARED = 20_000  # ids of each side that are searched for two spellings of one id


@dataclass(frozen=True)
class _Unseen:
    """The users or items of one held-out part, by what training knows of them."""

    part: str  # "validation" or "test"
    noun: str  # "user" or "item"
    held_out: int  # different ones in the part
    unseen: int  # of these, without a training pair
    unseen_ids: list[str]  # COMPARED of them at most
    trained_ids: list[str]

    @property
    def share(self) -> float:
        return self.unseen / max(self.held_out, 1)


def unseen_notes(dataset: Dataset, *, items_have_features: bool) -> tuple[str, ...]:
    """Sentences on held-out users and items that no training pair has.

    Splits that walk each user's pairs leave an item unseen by chance only: a note above 10 %. In a
    given split and one by time every one is counted, and a part whose users or items are all unseen
    raises DataError, with an id of each side. Two cases are only noted: items that have features
    to be ranked by, and validation items of a given split, which chance may have held out.
    """
    notes = []
    by_chance = dataset.split not in ("given", "global-time")
    for look in _look(dataset):
        if not look.unseen or (by_chance and look.share <= WARN_ABOVE):
            continue
        drawn = look.part == "validation" and dataset.split == "given"
        may_be_new = look.noun == "item" and (items_have_features or drawn)
        if look.share == 1 and not by_chance and not may_be_new:
            raise _refusal(look, dataset)
        notes.append(_sentence(look))
    return tuple(notes)


def _look(dataset: Dataset) -> Iterator[_Unseen]:
    train = dataset.train
    for part, pairs in (("validation", dataset.valid), ("test", dataset.test)):
        for noun, held, degrees, ids in (
            ("user", pairs.user_degrees(), train.user_degrees(), dataset.user_ids),
            ("item", pairs.item_degrees(), train.item_degrees(), dataset.item_ids),
        ):
            held_out = np.flatnonzero(held)
            unseen = held_out[degrees[held_out] == 0]
            trained = np.flatnonzero(degrees)
            first = (
                [ids[code] for code in codes[:COMPARED].tolist()] for codes in (unseen, trained)
            )
            yield _Unseen(part, noun, len(held_out), len(unseen), *first)


def _sentence(look: _Unseen) -> str:
    have = "has" if look.held_out == 1 else "have"
    sentence = f"{look.unseen:,} of {counted(look.held_out, f'{look.part} {look.noun}')}"
    if look.share <= WARN_ABOVE:
        return f"{sentence} {have} no training pair"
    sentence = f"warning: {sentence} ({look.share:.0%}) {have} no training pair"
    pair = _two_spellings(look)
    if pair is not None:
        return (
            f"{sentence}; {shown(pair[0])} may be {shown(pair[1])} of training, spelled otherwise"
        )
    return f"{sentence}, such as {shown(look.unseen_ids[0])}: nothing is learned about them"


def _refusal(look: _Unseen, dataset: Dataset) -> DataError:
    pair = _two_spellings(look)
    held_out, trained = pair or (look.unseen_ids[0], look.trained_ids[0])
    if pair is not None:
        hint = f"write the {look.noun} ids of both parts alike"
    elif dataset.split == "given":
        hint = "are the parts of one data set, with the same columns and the same ids?"
    else:
        share = "--test-ratio" if look.part == "test" else "--valid-ratio, or --valid none"
        hint = f"everything after the cut in time is new: use a smaller {share}, or a split by user"
        hint += " such as --split loo-time"
    what = f"{look.part} {look.noun}"
    which = f"any of the {look.held_out:,} {what}s" if look.held_out > 1 else f"the only {what}"
    return DataError(
        f"no training pair has {which}: {look.part} has {look.noun} ids like {shown(held_out)}, "
        f"training like {shown(trained)}",
        path=dataset.source,
        hint=hint,
    )


def _two_spellings(look: _Unseen) -> tuple[str, str] | None:
    """An unseen id, and a trained one that differs from it in spelling only, if there are such."""
    by_core = {_core(text): text for text in look.trained_ids}
    for text in look.unseen_ids:
        if (other := by_core.get(_core(text))) is not None:
            return text, other
    return None


def _core(text: str) -> str:
    """What stays of an id without quotes, blanks, case, leading zeros and a fraction of zeros."""
    plain = text.strip(" \t\"'").casefold()
    plain = re.sub(r"^(\d+)\.0*$", r"\1", plain)
    return re.sub(r"^0+(?=\d)", "", plain)
