"""Dates as people write them, as seconds since 1970 (UTC without a zone).

A column has one form. Where day and month could change places on every row of it, it is refused.
ISO 8601 is read by the text reader itself; this module reads other forms: `12/1/2010 8:26`,
`31.12.2010`, `2020/01/01`, `2024-05-31 12:00:00 UTC`, `May 1 2014`, `05 31, 2014`,
`5/1/2014 8:26 PM`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone

import numpy as np
from numpy.typing import NDArray

from advrec.data.readers.text_twin import NUMBER, seconds

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?: ?(?P<half>[ap])\.?m\.?)?"
)
_ZONE = r" ?(?P<zone>z|utc|gmt|[+-]\d{2}:?\d{2})"
_TIME = rf"(?:(?:t|,? +){_CLOCK}(?:{_ZONE})?)?"
_DAYS = {
    "year first": r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
    "two numbers first": r"(?P<one>\d{1,2})(?P<mark>[-/.])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4})",
    "two numbers and a comma": r"(?P<one>\d{1,2}) (?P<two>\d{1,2}), (?P<year>\d{4})",
    "month by name": rf"(?:[a-z]{{3}},? )?{_MONTH} (?P<day>\d{{1,2}}),? (?P<year>\d{{4}})",
    "day and month by name": rf"(?P<day>\d{{1,2}})[ -]{_MONTH}[ -](?P<year>\d{{4}})",
}
_FORMS = {name: re.compile(days + _TIME, re.ASCII) for name, days in _DAYS.items()}
_FORMS["as in e-mail"] = re.compile(  # Mon May 05 10:00:00 +0000 2014
    rf"[a-z]{{3}} {_MONTH} (?P<day>\d{{1,2}}) {_CLOCK}{_ZONE} (?P<year>\d{{4}})", re.ASCII
)


class DateError(ValueError):
    """A text that is not a date of the column's form, or a column whose order is in doubt."""

    def __init__(self, word: str | None, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.word = word  # None: the whole column
        self.hint = hint


def is_date(text: str) -> bool:
    """Is this a date in one of the forms that are read?"""
    return seconds(text.encode()) == seconds(text.encode()) or any(
        form.fullmatch(text.lower()) for form in _FORMS.values()
    )


def read_dates(words: Sequence[str], time_format: str | None) -> tuple[NDArray[np.float64], str]:
    """The seconds since 1970 of every text, and how they were read. Raises DateError."""
    if time_format is not None:
        return np.array([_formatted(word, time_format) for word in words]), f"by {time_format!r}"
    if all(NUMBER.fullmatch(word.encode()) for word in words):
        numbers = np.array([float(word) for word in words])
        if not np.isfinite(numbers).all():
            raise DateError(words[int(np.isinf(numbers).argmax())], "")
        return numbers, "as numbers"
    name, form = _form_of(words)
    matches = [form.fullmatch(word.lower()) for word in words]
    groups = [match.groupdict() for match in matches if match is not None]
    if "one" not in form.groupindex:
        return np.array([_moment(word, g) for word, g in zip(words, groups, strict=True)]), name
    month_first = _fits(groups, "one", "two")
    day_first = _fits(groups, "two", "one")
    example = words[0]
    if month_first and day_first and any(g["one"] != g["two"] for g in groups):
        raise DateError(
            None,
            f"dates such as {example!r} may begin with the day or with the month",
            _order_hint(groups[0]),
        )
    if not month_first and not day_first:
        raise DateError(None, f"dates such as {example!r} have neither one order nor the other")
    month, day = ("one", "two") if month_first else ("two", "one")
    values = [_moment(word, g, g[month], g[day]) for word, g in zip(words, groups, strict=True)]
    return np.array(values), "month first" if month_first else "day first"


def _form_of(words: Sequence[str]) -> tuple[str, re.Pattern[str]]:
    """The one form that every text has."""
    first = next((w for w in words if not NUMBER.fullmatch(w.encode())), words[0])
    for name, form in _FORMS.items():
        if form.fullmatch(first.lower()):
            for word in words:
                if not form.fullmatch(word.lower()):
                    raise DateError(word, f"not a date like {first!r} before it")
            return name, form
    raise DateError(first, "")


def _fits(groups: Iterable[dict[str, str]], month: str, day: str) -> bool:
    return all(1 <= int(g[month]) <= 12 and 1 <= int(g[day]) <= 31 for g in groups)


def _order_hint(groups: dict[str, str]) -> str:
    mark = groups.get("mark")
    clock = ""
    if groups["hour"] is not None:
        clock = " %I:%M" if groups["half"] else " %H:%M"
        clock += ":%S" * (groups["second"] is not None) + " %p" * (groups["half"] is not None)
    forms = [f"%{a}{mark}%{b}{mark}%Y" if mark else f"%{a} %{b}, %Y" for a, b in ("md", "dm")]
    return f"say which: --time-format '{forms[0]}{clock}' or --time-format '{forms[1]}{clock}'"


def _moment(
    word: str, groups: dict[str, str], month: str | None = None, day: str | None = None
) -> float:
    name = groups.get("name")
    month_number = MONTHS.index(name[:3]) + 1 if name else int(month or groups["month"])
    hour = int(groups["hour"] or 0)
    if groups["half"]:
        if not 1 <= hour <= 12:
            raise DateError(word, "")
        hour = hour % 12 + 12 * (groups["half"] == "p")
    minute, second = int(groups["minute"] or 0), int(groups["second"] or 0)
    try:
        days = date(int(groups["year"]), month_number, int(day or groups["day"])).toordinal()
    except ValueError:
        raise DateError(word, "") from None
    if hour > 23 or minute > 59 or second > 59:
        raise DateError(word, "")
    whole = ((days - date(1970, 1, 1).toordinal()) * 24 + hour) * 3600 + minute * 60 + second
    fraction = groups["fraction"] or "0"
    zone = groups["zone"] or "z"
    if zone[0] in "+-":
        offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        whole -= -offset if zone[0] == "-" else offset
    return whole + int(fraction) / float(10 ** len(fraction))


def _formatted(word: str, time_format: str) -> float:
    try:
        moment = datetime.strptime(word, time_format)
    except ValueError:
        raise DateError(word, f"not of the form {time_format!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(seconds=1)
