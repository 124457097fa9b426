"""Which column of a table is the user, the item, the rating and the timestamp."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.errors import DataError
from advrec.visible import listed

ROLES = ("user", "item", "rating", "timestamp")

# Names in public data sets, without case, blanks and punctuation, JSON keys included; the
# first one in the table wins, so that an id is preferred to a name. A question mark: a word that
# may as well be the id of a user or an item ("book"); alone it is not enough to see a header.
_ALIASES = """
user: userid uid user? userkey useridx custid customerid clientid visitorid reviewerid memberid
user: accountid profileid personid playerid readerid listenerid viewerid buyerid steamid msno
user: reviewuserid reviewprofilename username customer? client? visitor? reviewer? member? account?
user: reader? listener? viewer? buyer? person? player? sessionid session?
item: itemid iid item? movieid filmid trackid songid parentasin asin productid productproductid
item: bookid isbn gameid appid articleid newsid businessid gmapid venueid locationid placeid poiid
item: restaurantid hotelid listingid recipeid beerbeerid beerid animeid videoid showid courseid
item: podcastid postid storyid artistid albumid adid skuid sku stockcode ean gtin upc movie? film?
item: track? song? product? book? game? article? business? venue? location? restaurant? hotel?
item: recipe? beer? anime? video? course? podcast? artist? album?
rating: rating? ratings? starrating bookrating userrating ratingvalue reviewoverall reviewrating
rating: reviewscore score? stars? overall? playcount listencount weight? plays?
timestamp: timestamp unixtimestamp unixtime unixreviewtime eventtimestamp eventtime timestampms
timestamp: time? ts? reviewtime reviewdate ratingtimestamp ratingdate tdat createdat createdtime
timestamp: invoicedate orderdate purchasedate eventdate visittime checkintime playedat dateadded
timestamp: datetime utctime date? epoch? created?
"""
# Columns of 0 and 1 that say whether a row is an interaction or was only shown.
LABELS = ("label", "clicked", "isclick", "ispositive", "click", "liked", "like", "islike", "target")

ALIASES: dict[str, list[str]] = {role: [] for role in ROLES}
SURE_NAMES: set[str] = set()  # a first line with one of these is a header
for _line in _ALIASES.split("\n")[1:-1]:
    _role, _, _names = _line.partition(": ")
    SURE_NAMES.update(name for name in _names.split() if not name.endswith("?"))
    ALIASES[_role] += _names.replace("?", "").split()
ALIASES["rating"] += LABELS


@dataclass(frozen=True)
class Wanted:
    """The columns that a caller named: by name, by number from 1, or `none` for no column."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    @classmethod
    def of(cls, config: DataConfig) -> Wanted:
        """The columns that the options name."""
        return cls(config.user_col, config.item_col, config.rating_col, config.timestamp_col)

    def given(self) -> dict[str, str]:
        """Role -> the column asked for; roles without one are left out."""
        pairs = {field.name: getattr(self, field.name) for field in fields(self)}
        return {role: value for role, value in pairs.items() if value is not None}


@dataclass(frozen=True)
class Roles:
    """Column numbers from 0; -1: there is none."""

    user: int
    item: int
    rating: int = -1
    timestamp: int = -1

    def sentence(self, names: Sequence[str]) -> str:
        """What was understood, for the notes."""
        places = {role: getattr(self, role) for role in ROLES}
        read = ", ".join(
            f"{role} = {f'{names[at]!r}' if names[at] != role else f'column {at + 1}'}"
            for role, at in places.items()
            if at >= 0
        )
        unread = [name for at, name in enumerate(names) if at not in places.values()]
        if not unread:
            return read
        listed = ", ".join(
            name if name.startswith("column ") else repr(name) for name in unread[:8]
        )
        more = f" and {len(unread) - 8} more" if len(unread) > 8 else ""
        return f"{read}; not read: {listed}{more}"


def by_name(
    names: Sequence[str], wanted: Wanted, path: Path, *, line: int | None = 1, guessed: bool = False
) -> Roles:
    """Find the columns under a header, `guessed` where no option says that it is one.

    If one of two columns is known, the other is the missing user or item.
    Raises DataError with the names in the table.
    """
    places = {role: _find(names, role, wanted, path) for role in ROLES}
    free = [at for at in range(len(names)) if at not in places.values()]
    for role, other in (("user", "item"), ("item", "user")):
        if places[role] < 0 and places[other] >= 0 and len(names) == 2 and free:
            places[role] = free[0]
    for role in ("user", "item"):
        if places[role] < 0:
            raise DataError(
                f"cannot tell which column is the {role}: {listed(names)}",
                path=path,
                line=line,
                hint=f"name it with {role}_col"
                + (f"; if line {line} is a row and not a header: --header no" if guessed else ""),
            )
    _refuse_names_twice(names, places, wanted, path, line)
    _refuse_two_ratings(names, places["rating"], wanted, path, line)
    return distinct(Roles(**places), names, path)


def _refuse_names_twice(
    names: Sequence[str], places: dict[str, int], wanted: Wanted, path: Path, line: int | None
) -> None:
    """Of two columns of one name neither is chosen by that name."""
    for role, at in places.items():
        asked = wanted.given().get(role, "")
        by_number = column_number(asked) is not None and asked not in names
        if at >= 0 and not by_number and names.count(names[at]) > 1:
            numbers = [str(n) for n, name in enumerate(names, start=1) if name == names[at]]
            raise DataError(
                f"columns {' and '.join(numbers)} are both called {names[at]!r}; "
                f"which one is the {role}?",
                path=path,
                line=line,
                hint=f"name it by number: {role}_col {numbers[0]}",
            )


def _refuse_two_ratings(
    names: Sequence[str], rating: int, wanted: Wanted, path: Path, line: int | None
) -> None:
    """A rating and a label: which of them says what is an interaction?"""
    labels = [name for name in names if plain_name(name) in LABELS]
    if rating < 0 or not labels or wanted.rating is not None or names[rating] in labels:
        return
    raise DataError(
        f"{names[rating]!r} is a rating, and {labels[0]!r} may say which rows are interactions",
        path=path,
        line=line,
        hint=f"say which: --rating-col {names[rating]} (every row counts), or "
        f"--rating-col {labels[0]} (rows with 0 do not count)",
    )


def distinct(roles: Roles, names: Sequence[str], path: Path) -> Roles:
    """The same roles. Raises DataError where one column would have two."""
    seen: dict[int, str] = {}
    for role in ROLES:
        at = getattr(roles, role)
        if at in seen:
            raise DataError(
                f"{names[at]!r} cannot be both the {seen[at]} and the {role}",
                path=path,
                hint=f"name both {seen[at]}_col and {role}_col",
            )
        if at >= 0:
            seen[at] = role
    return roles


def header_spellings(role: str) -> frozenset[str]:
    """The names of a role as they stand in headers, in lower case: userid, user_id, user-id …"""
    names = set(ALIASES[role])
    for name in ALIASES[role]:
        stem = name.removesuffix("id")
        if stem != name:
            names.update(stem + mark + "id" for mark in "_- ")
    return frozenset(names)


def recognised(names: Sequence[str]) -> bool:
    """Do these fields name both the user and the item column?"""
    plain = [plain_name(name) for name in names]
    return all(any(alias in plain for alias in ALIASES[role]) for role in ("user", "item"))


def _find(names: Sequence[str], role: str, wanted: Wanted, path: Path) -> int:
    asked = wanted.given().get(role)
    if asked is None:
        return _by_alias(names, role)
    if asked in names:
        return list(names).index(asked)
    if asked == "none" and role in ("rating", "timestamp"):
        return -1
    lower = [name.lower() for name in names]
    if asked.lower() in lower:
        return lower.index(asked.lower())
    place = column_number(asked)
    if place is not None and 1 <= place <= len(names):
        return place - 1
    raise DataError(
        f"no column is called {asked!r}, found {listed(names)}",
        path=path,
        hint=f"give {role}_col one of these names, or a number from 1",
    )


def column_number(text: str) -> int | None:
    """A number in plain digits, and not too many of them for a number of anything; else None."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _by_alias(names: Sequence[str], role: str) -> int:
    plain = [plain_name(name) for name in names]
    for alias in ALIASES[role]:
        if alias in plain:
            return plain.index(alias)
    return -1


def plain_name(name: str) -> str:
    """A column name without case, blanks and punctuation."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
