"""Which column of a table is the user, the item, the rating and the timestamp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.errors import DataError

ROLES = ("user", "item", "rating", "timestamp")

# As they stand in public data sets, without case, blanks and punctuation, JSON keys included; the
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
    """The columns that a caller named: by name, or by number from 1."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None

    @classmethod
    def of(cls, config: DataConfig) -> Wanted:
        """The columns that the options name."""
        return cls(config.user_col, config.item_col, config.rating_col, config.timestamp_col)

    def given(self) -> dict[str, str]:
        """Role -> what was asked for, only the roles that were."""
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
        found = {role: getattr(self, role) for role in ROLES}
        return ", ".join(
            f"{role} = {f'{names[at]!r}' if names[at] != role else f'column {at + 1}'}"
            for role, at in found.items()
            if at >= 0
        )


def by_name(names: Sequence[str], wanted: Wanted, path: Path, *, line: int | None = 1) -> Roles:
    """Find the columns under a header. Raises DataError with the names that are there."""
    places = {role: _find(names, role, wanted, path) for role in ROLES}
    for role in ("user", "item"):
        if places[role] < 0:
            raise DataError(
                f"cannot tell which column is the {role}: {', '.join(map(repr, names))}",
                path=path,
                line=line,
                hint=f"name it with {role}_col",
            )
    return distinct(Roles(**places), names, path)


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


def recognised(names: Sequence[str], wanted: Wanted) -> bool:
    """Do these fields of a first line name the user and the item column?"""
    plain = [_plain(name) for name in names]
    asked = wanted.given()
    if any(value in names and not value.isdigit() for value in asked.values()):
        return True
    return all(any(alias in plain for alias in ALIASES[role]) for role in ("user", "item"))


def _find(names: Sequence[str], role: str, wanted: Wanted, path: Path) -> int:
    asked = wanted.given().get(role)
    if asked is None:
        return _by_alias(names, role)
    if asked in names:
        return list(names).index(asked)
    lower = [name.lower() for name in names]
    if asked.lower() in lower:
        return lower.index(asked.lower())
    if asked.isdigit() and 1 <= int(asked) <= len(names):
        return int(asked) - 1
    raise DataError(
        f"no column is called {asked!r}, found {', '.join(map(repr, names))}",
        path=path,
        hint=f"give {role}_col one of these names, or a number from 1",
    )


def _by_alias(names: Sequence[str], role: str) -> int:
    plain = [_plain(name) for name in names]
    for alias in ALIASES[role]:
        if alias in plain:
            return plain.index(alias)
    return -1


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
