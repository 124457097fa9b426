"""Which column is what, where no header says so: the values decide, or the file is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advrec.data.readers.columns import Roles, Wanted, column_number, distinct
from advrec.data.readers.dates import is_date
from advrec.data.readers.text_twin import MISSING, NUMBER
from advrec.errors import DataError

YEARS = (315_532_800, 2_208_988_800)  # seconds since 1970: the years 1980 to 2039
TIME_UNITS = (1, 10**3, 10**6, 10**9)  # seconds, milliseconds, microseconds, nanoseconds
HIGHEST_RATING = 100
PRODUCT = re.compile(r"[0-9]{9}[0-9X]|B[0-9A-Z]{9}")  # Amazon's ids
REVIEWER = re.compile(r"A[0-9A-Z]{10,20}")
DIFFERENT_TIMES = 0.9  # of a column before an id: users and items come again more often
MOSTLY = 0.6  # the odd line is an error and not another meaning


def is_number(field: str) -> bool:
    """Is this a number, perhaps with a decimal comma?"""
    return NUMBER.fullmatch(field.replace(",", ".", 1).encode()) is not None


def time_unit(numbers: NDArray[np.float64]) -> int | None:
    """The unit in which nearly all numbers are moments from 1980 to 2039; None: they are not."""
    for unit in TIME_UNITS:
        inside = (numbers >= YEARS[0] * unit) & (numbers < YEARS[1] * unit)
        if len(numbers) and inside.mean() >= 0.9:
            return unit
    return None


def _mostly(answers: Sequence[bool]) -> bool:
    return sum(answers) >= MOSTLY * len(answers)


@dataclass(frozen=True)
class Column:
    """The values of one column on many lines."""

    values: Sequence[str]

    @cached_property
    def numbers(self) -> NDArray[np.float64] | None:
        """The values as numbers, None where most are not."""
        good = [float(value.replace(",", ".", 1)) for value in self.values if is_number(value)]
        good = [value for value in good if math.isfinite(value)]
        if not good or len(good) < MOSTLY * len(self.values):
            return None
        return np.array(good)

    @cached_property
    def distinct(self) -> float:
        """The share of values that are different."""
        return len(set(self.values)) / max(len(self.values), 1)

    @cached_property
    def dated(self) -> bool:
        """Are most values dates in letters and digits?"""
        dates = [is_date(value) for value in self.values]
        return bool(dates) and self.numbers is None and _mostly(dates)

    @cached_property
    def times(self) -> bool:
        """Are these moments: dates, or counts since 1970?"""
        if self.numbers is None:
            return self.dated
        if any(value[:1] == "0" and value[1:2].isdigit() for value in self.values):
            return False  # 0061020717 is an id
        return time_unit(self.numbers) is not None or self._compact_dates()

    def _compact_dates(self) -> bool:
        """20240531."""
        assert self.numbers is not None
        year, rest = self.numbers // 10_000, self.numbers % 10_000
        month, day = rest // 100, rest % 100
        fits = (year >= 1980) & (year < 2040) & (month >= 1) & (month <= 12)
        return bool((fits & (day >= 1) & (day <= 31)).all())

    @cached_property
    def rates(self) -> bool:
        """May these be ratings: numbers that are not large?"""
        return self.numbers is not None and self._share(HIGHEST_RATING) >= 0.9 and not self.times

    @cached_property
    def scale(self) -> bool:
        """Are these on a scale: few different numbers up to 10?"""
        if self.numbers is None or self._share(10) < 1:
            return False
        return len(np.unique(self.numbers)) <= 21

    @cached_property
    def fractions(self) -> bool:
        """Are there numbers that are not whole?"""
        return self.numbers is not None and bool((self.numbers % 1 != 0).any())

    @cached_property
    def clear(self) -> bool:
        """Do these look like ratings and hardly like ids?"""
        return self.rates and (self.scale or self.fractions)

    @cached_property
    def counts(self) -> bool:
        """May these be ratings or counts: numbers that are not written like ids?"""
        padded = any(value[:1] == "0" and value[1:2].isdigit() for value in self.values)
        return self.numbers is not None and not self.times and not padded

    @cached_property
    def labels(self) -> bool:
        """Only 0 and 1, and both."""
        return self.numbers is not None and set(self.numbers.tolist()) == {0.0, 1.0}

    def _share(self, most: float) -> float:
        assert self.numbers is not None
        return float((np.abs(self.numbers) <= most).mean())


def by_place(rows: Sequence[Sequence[str]], wanted: Wanted, path: Path, line: int) -> Roles:
    """The roles of the columns of a table without a header.

    Raises DataError with both readings as options where two are possible.
    """
    width = len(rows[0])
    places = _asked(wanted, width, path, line)
    if "user" in places and "item" in places:
        return distinct(_roles(places), _names(width), path)
    if width > 4:
        raise DataError(
            f"{width} columns and no header that says which is the user and which the item",
            path=path,
            line=line,
            hint="name them by number from 1, for example --user-col 1 --item-col 2; lines of "
            "LightGCN text are --format lightgcn",
        )
    rows = [row for row in rows if len(row) == width]
    columns = [
        Column([row[at] for row in rows if row[at].encode() not in MISSING]) for at in range(width)
    ]
    roles = _Guess(columns, places, path, line).roles()
    if "user" not in places and "item" not in places and _is_amazon(columns, roles):
        roles = replace(roles, user=roles.item, item=roles.user)
    return distinct(roles, _names(width), path)


def _is_amazon(columns: Sequence[Column], roles: Roles) -> bool:
    """Are these Amazon's ratings of 2018, whose first column is the product?"""
    products, reviewers = columns[roles.user].values, columns[roles.item].values
    return bool(products) and (
        all(PRODUCT.fullmatch(value) for value in products)
        and all(REVIEWER.fullmatch(value) for value in reviewers)
    )


def _asked(wanted: Wanted, width: int, path: Path, line: int) -> dict[str, int]:
    places = {}
    for role, value in wanted.given().items():
        if value == "none":
            places[role] = -1
            continue
        place = column_number(value)
        if place is None or not 1 <= place <= width:
            raise DataError(
                f"no header, and {role}_col must be a number from 1 to {width}, got {value!r}",
                path=path,
                line=line,
                hint="if line 1 is a header: --header yes",
            )
        places[role] = place - 1
    return places


def _names(width: int) -> list[str]:
    return [f"column {at + 1}" for at in range(width)]


def _roles(places: Mapping[str, int]) -> Roles:
    return Roles(
        places["user"], places["item"], places.get("rating", -1), places.get("timestamp", -1)
    )


@dataclass(frozen=True)
class _Guess:
    """What a table of two to four columns without a header may be."""

    columns: Sequence[Column]
    places: Mapping[str, int]  # what the options fix
    path: Path
    line: int

    def roles(self) -> Roles:
        places = dict(self.places)
        free = [at for at in range(len(self.columns)) if at not in places.values()]
        time = places.get("timestamp")
        if time is None:
            time = self._time(free)
        places["timestamp"] = time
        rest = [at for at in free if at != time and not self.columns[at].dated]
        for role in ("user", "item"):
            if role not in places:
                if not rest:
                    raise self._doubt("no column is left for the " + role, ())
                places[role] = rest.pop(0)
        if "rating" not in places:
            places["rating"] = self._rating(rest, places)
        self._refuse_fractions(places)
        return _roles(places)

    def _refuse_fractions(self, places: Mapping[str, int]) -> None:
        """Raise DataError where the user or the item has values such as 3.5."""
        for role in ("user", "item"):
            at = places[role]
            if role in self.places or not self.columns[at].fractions:
                continue
            free = [n for n in range(len(self.columns)) if n not in self.places.values()]
            readings = [self._order(free, rating=at), _roles(places)]
            raise self._doubt(f"column {at + 1} has fractions, so it is not the {role}", readings)

    def _time(self, free: Sequence[int]) -> int:
        ids = sum(role not in self.places for role in ("user", "item"))
        if len(free) <= ids:
            return -1  # numbers like times are ids where all columns are needed for ids
        times = [at for at in free if self.columns[at].times]
        dated = [at for at in times if self.columns[at].dated]
        if len(times) > 1 and len(dated) == 1:
            times = dated
        if len(times) > 1:
            raise self._doubt(
                "columns " + " and ".join(str(at + 1) for at in times) + " may be the time",
                [self._order(free, time=at) for at in times],
            )
        if times and self._is_id(times[0], free):
            return -1
        return times[0] if times else -1

    def _is_id(self, time: int, free: Sequence[int]) -> bool:
        """Is the column a user or an item whose ids lie in the range of times?

        Raises DataError where it may be that or the time: values come again, as ids do, or are too
        few to tell, or the third column may be the rating of such ids.
        """
        column = self.columns[time]
        if column.dated or len(free) < 3 or time not in free[:2]:
            return False
        third = self.columns[free[2]]
        if third.rates and third.fractions and len(free) == 3:
            return True
        again = column.distinct < DIFFERENT_TIMES or len(column.values) < 3
        if again or (third.rates and third.scale):
            rating = free[2] if third.rates else -1
            raise self._doubt(
                f"column {time + 1} may be an id or the time",
                [self._order(free, time=time), self._order(free, rating=rating)],
            )
        return False

    def _order(self, free: Sequence[int], *, time: int = -1, rating: int = -1) -> Roles | None:
        ids = [at for at in free if at not in (time, rating)]
        if len(ids) < 2:
            return None
        return Roles(ids[0], ids[1], rating, time)

    def _rating(self, rest: Sequence[int], places: Mapping[str, int]) -> int:
        """The rating among the columns after user and item; -1: there is none."""
        if not rest:
            return -1
        user, item, time = places["user"], places["item"], places["timestamp"]
        plain = Roles(user, item, -1, time)
        rated = [at for at in rest if self.columns[at].rates]
        readings = [Roles(user, item, at, time) for at in rated]
        if len(rated) > 1:
            raise self._doubt(
                "columns " + " and ".join(str(at + 1) for at in rated) + " may be the rating",
                readings,
            )
        self._refuse_early_rating(rest, readings[0] if rated else plain)
        if rated and self.columns[rated[0]].labels:
            raise self._doubt(
                f"column {rated[0] + 1} is 0 or 1: it may say which rows are interactions",
                [readings[0], plain],
            )
        if rated and item > time > user:
            raise self._doubt(
                f"column {rated[0] + 1} may be a rating or a category", [readings[0], plain]
            )
        return rated[0] if rated else -1

    def _refuse_early_rating(self, rest: Sequence[int], usual: Roles) -> None:
        """Raise DataError where the user or the item may as well be the rating.

        A rating behind them that looks like one decides; so does one with fractions among numbers
        without. Counts and numbers up to 100 may be ids as well.
        """
        rating = None if usual.rating < 0 else self.columns[usual.rating]
        for at in (usual.item, usual.user):
            column = self.columns[at]
            if at in self.places.values() or not column.counts:
                continue
            if rating is not None and rating.clear and not column.clear:
                continue
            if rating is not None and rating.fractions and not column.fractions:
                continue
            ids = sorted({usual.user, usual.item, rest[0]} - {at})
            raise self._doubt(
                f"column {at + 1} may be an id or the rating",
                [usual, Roles(ids[0], ids[1], at, usual.timestamp)],
            )

    def _doubt(self, message: str, readings: Sequence[Roles | None]) -> DataError:
        options = [_options(roles) for roles in readings if roles is not None]
        if len(options) < 2:
            options = ["--user-col N --item-col N", "--header yes"]
        return DataError(
            f"no header, and {message}",
            path=self.path,
            line=self.line,
            hint="say which: " + ", or ".join(options),
        )


def _options(roles: Roles) -> str:
    """The roles as options of the command line."""
    places = {"user": roles.user, "item": roles.item}
    places |= {"rating": roles.rating, "timestamp": roles.timestamp}
    return " ".join(f"--{role}-col {at + 1}" for role, at in places.items() if at >= 0)
