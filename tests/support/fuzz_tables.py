"""Random tables of known content, in one file and in two, and what the readers make of them.

    python tests/support/fuzz_tables.py --count 1000

prints how many were read right, refused, and misread without a word; the last must be none.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.data.load import read_interactions
from advrec.errors import AdvrecError

SEPARATORS = (",", ";", "\t", "|", "::", " ")
ENDINGS = (".csv", ".txt", ".tsv", ".dat", ".data", "")
WORDS = [
    "Emma",
    "Dune",
    "Blue",
    "Creep",
    "Low",
    "Persuasion",
    "Solaris",
    "Ulysses",
    "Portal",
    "Braid",
    "Nemo",
    "Alien",
    "Heat",
]
NAMES = ["Smith", "Jones", "Brown", "Lee", "Garcia", "Khan", "Rossi", "Weber"]
FIRST = ["Ann", "Bob", "Cid", "Eve", "Max", "Zoe"]
HEADERS = {
    "user": ("user", "user_id", "userId", "User-ID", "reviewerID", "customer_id", "reader", "uid"),
    "item": ("item", "item_id", "movieId", "asin", "track_id", "book", "StockCode", "business_id"),
    "rating": ("rating", "stars", "overall", "Book-Rating", "score"),
    "time": ("timestamp", "time", "date", "event_time", "created_at", "InvoiceDate"),
    "title": ("title", "description", "genre"),
}
UNKNOWN = {
    "user": "kunde",
    "item": "artikel",
    "rating": "note",
    "time": "wann",
    "title": "text",
}


@dataclass(frozen=True)
class Table:
    """A file and what stands in it."""

    name: str
    content: bytes
    about: str
    rows: list[tuple[str, str]]
    ratings: list[float] | None
    times: list[float] | None
    optional_rating: bool  # counts are left unread without a header


def _ids(rng: random.Random, count: int, *, user: bool) -> tuple[str, list[str]]:
    kinds = ["small", "plain", "large", "code", "hex", "word", "zeros", "last, first"]
    kind = rng.choice([*kinds, "seconds"] if user else kinds)  # items in that range are times
    makers: dict[str, Callable[[int], str]] = {
        "small": str,
        "plain": lambda n: str(17 + n * 7),
        "large": lambda n: str(98_000_000 + n * 7919),
        "seconds": lambda n: str(1_310_000_000 + n * 7919),  # as users of Twitter have
        "code": lambda n: f"{'u' if user else 'i'}{n}",
        "hex": lambda n: f"{n * 2654435761 % 2**32:08x}x",
        "word": lambda n: WORDS[n % len(WORDS)] + ("" if n < len(WORDS) else str(n)),
        "zeros": lambda n: f"{n * 37 + 5:010}",
        "last, first": lambda n: (
            f"{NAMES[n % len(NAMES)]}, {FIRST[n // len(NAMES) % len(FIRST)]}"
            + ("" if n < len(NAMES) * len(FIRST) else f" {n}")
        ),
    }
    return kind, [makers[kind](n) for n in range(1, count + 1)]


def _ratings(rng: random.Random, count: int) -> tuple[str, list[str], list[float]]:
    kind = rng.choice(["1 to 5", "halves", "comma", "counts", "percent", "labels", "floats"])
    makers: dict[str, Callable[[], float]] = {
        "1 to 5": lambda: rng.randint(1, 5),
        "halves": lambda: rng.randint(1, 10) / 2,
        "comma": lambda: rng.randint(1, 10) / 2,
        "counts": lambda: int(rng.paretovariate(0.5)),
        "percent": lambda: rng.randint(0, 100),
        "labels": lambda: rng.randint(0, 1),
        "floats": lambda: round(rng.uniform(-10, 10), 2),
    }
    values = [makers[kind]() for _ in range(count)]
    texts = [str(value) for value in values]
    if kind == "comma":
        texts = [text.replace(".", ",") for text in texts]
    return kind, texts, [float(value) for value in values]


def _times(rng: random.Random, count: int) -> tuple[str, list[str], list[float]]:
    kind = rng.choice(["s", "ms", "us", "ns", "iso", "day", "us date", "german", "utc", "comma"])
    moments = [rng.randint(800_000_000, 1_700_000_000) for _ in range(count)]
    if kind in ("us date", "german", "utc", "comma"):
        moments = [moment - moment % 60 for moment in moments]
    if kind == "day":
        moments = [moment - moment % 86_400 for moment in moments]
    forms = {
        "iso": "%Y-%m-%dT%H:%M:%SZ",
        "day": "%Y-%m-%d",
        "us date": "%m/%d/%Y %H:%M",
        "german": "%d.%m.%Y %H:%M",
        "utc": "%Y-%m-%d %H:%M:%S UTC",
        "comma": "%Y-%m-%d %H:%M:%S,000",
    }
    if kind in forms:
        dates = [datetime.fromtimestamp(moment, tz=timezone.utc) for moment in moments]
        return kind, [date.strftime(forms[kind]) for date in dates], [float(m) for m in moments]
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind]
    return kind, [str(m * factor) for m in moments], [float(m * factor) for m in moments]


def generate(seed: int) -> Table:
    """The table of a seed: the same on every machine."""
    rng = random.Random(seed)
    count = rng.choice([3, 6, 12, 40, 80])
    n_users, n_items = (
        max(2, count // rng.choice([2, 3, 5])),
        max(2, count // rng.choice([1, 2, 4])),
    )
    user_kind, users = _ids(rng, n_users, user=True)
    item_kind, items = _ids(rng, n_items, user=False)
    rows = [(rng.choice(users), rng.choice(items)) for _ in range(count)]
    columns: dict[str, list[str]] = {"user": [u for u, _ in rows], "item": [i for _, i in rows]}
    ratings = times = None
    rating_kind = time_kind = "-"
    if rng.random() < 0.6:
        rating_kind, columns["rating"], ratings = _ratings(rng, count)
    if rng.random() < 0.6:
        time_kind, columns["time"], times = _times(rng, count)
    if rng.random() < 0.2:
        columns["title"] = [f"{rng.choice(WORDS)} {rng.choice(NAMES)}" for _ in rows]
    header = rng.choice(["known", "known", "none", "none", "unknown"])
    order = list(columns)
    rng.shuffle(order)
    if header == "none" and order.index("user") > order.index("item"):
        a, b = order.index("user"), order.index("item")
        order[a], order[b] = order[b], order[a]
    small = "small" in (user_kind, item_kind) and rating_kind in ("percent", "counts")
    if header == "none" and small:  # ids up to 10 behind such numbers look like ratings themselves
        order.remove("rating")
        order.append("rating")
    if header == "none" and "title" in order:  # an id cannot be told from a title
        order.remove("title")
        order.append("title")
    separator = rng.choice(SEPARATORS)
    if separator == " " and any(" " in field for column in columns.values() for field in column):
        separator = "\t"
    names = [rng.choice(HEADERS[role]) for role in order]
    if header == "unknown":
        names = [UNKNOWN[role] for role in order]
    lines = [separator.join(_field(columns[role][at], separator) for role in order)
             for at in range(count)]  # fmt: skip
    if header != "none":
        lines.insert(0, separator.join(names))
    end = rng.choice(["\n", "\n", "\n", "\r\n"])
    content = end.join(lines) + end
    if rng.random() < 0.1:
        content = f"# exported by hand{end}" + content
    content = ("\ufeff" if rng.random() < 0.1 else "") + content
    about = (
        f"seed {seed}: {' '.join(order)}, {header} header, separator {separator!r}, users "
        f"{user_kind}, items {item_kind}, ratings {rating_kind}, times {time_kind}, {count} rows"
    )
    optional = rating_kind == "counts" and header == "none"
    name = f"t{rng.choice(ENDINGS)}"
    return Table(name, content.encode(), about, rows, ratings, times, optional)


def _field(text: str, separator: str) -> str:
    if separator in (",", ";", "|") and separator in text:
        return f'"{text}"'
    return text


def outcome(table: Table, folder: Path) -> str:
    """`right`, `refused: …` or `misread: …`."""
    path = folder / table.name
    path.write_bytes(table.content)
    return _outcome_of(path, table)


def split_outcome(table: Table, folder: Path, *, header: bool) -> str:
    """The same with the last third of the rows in a test file, with or without the `header`."""
    ending = Path(table.name).suffix
    ending = ending if ending in (".csv", ".tsv", ".txt") else ".csv"
    end = b"\r\n" if b"\r\n" in table.content else b"\n"
    lines = table.content.split(end)[:-1]
    above, rows = lines[: -len(table.rows)], lines[-len(table.rows) :]
    cut = len(rows) * 2 // 3
    for stem, part in (
        ("train", above + rows[:cut]),
        ("test", above * header + rows[cut:]),
    ):
        for path in folder.glob(f"{stem}.*"):
            path.unlink()
        (folder / f"{stem}{ending}").write_bytes(end.join([*part, b""]))
    return _outcome_of(folder, table)


def _outcome_of(path: Path, table: Table) -> str:
    try:
        rows = read_interactions(DataConfig.of(str(path)))
    except AdvrecError as error:
        return f"refused: {error} ({error.hint})"
    users = [rows.user_ids[code] for code in rows.users.tolist()]
    pairs = list(zip(users, [rows.item_ids[code] for code in rows.items.tolist()], strict=True))
    if pairs != table.rows:
        return f"misread: pairs {pairs[:3]}, expected {table.rows[:3]}"
    ratings = None if rows.ratings is None else rows.ratings.tolist()
    if ratings != table.ratings and not (ratings is None and table.optional_rating):
        return f"misread: ratings {ratings and ratings[:3]}"
    times = None if rows.timestamps is None else rows.timestamps.tolist()
    if times != table.times:
        return f"misread: times {times and times[:3]}"
    return "right"


def count_outcomes(
    count: int, *, first: int = 0, split: bool = False
) -> tuple[Counter[str], list[str]]:
    """How many tables were right, refused and misread, and a sentence for each that was not.

    `split`: each as a train and a test file, every third one without a header in the second.
    """
    counts: Counter[str] = Counter()
    sentences = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            table = generate(seed)
            place = Path(folder)
            result = (
                split_outcome(table, place, header=seed % 3 > 0) if split else outcome(table, place)
            )
            counts[result.partition(":")[0]] += 1
            if result != "right":
                sentences.append(f"{table.about}\n    {result}")
    return counts, sentences


def main() -> int:
    """Exit code 1 where a table was misread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first table")
    parser.add_argument("--refused", action="store_true", help="list what was refused too")
    options = parser.parse_args()
    misread = 0
    for split in (False, True):
        counts, sentences = count_outcomes(options.count, first=options.seed, split=split)
        for sentence in sentences:
            if options.refused or "misread: " in sentence:
                print(sentence)
        share = counts["refused"] / options.count
        print(f"{options.count} {'splits' if split else 'tables'}: {counts['right']} right, "
              f"{counts['refused']} refused ({share:.1%}), "
              f"{counts['misread']} misread without a word")  # fmt: skip
        misread += counts["misread"]
    return 1 if misread else 0


if __name__ == "__main__":
    sys.exit(main())
