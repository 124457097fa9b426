"""Mutated files for every reader of text: read whole or refused, never a traceback, a hang or half.

    python tests/support/fuzz_readers.py --count 100000

`--count` files for each form. A file that is read must give as many rows as it has lines that are
not blank, comments or headers; lists and fields over several lines are left out of that.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from advrec.data.config import DataConfig
from advrec.data.load import read_interactions
from advrec.errors import AdvrecError

SLOW = 5.0  # seconds for a file of some hundred bytes
INSERTS = (
    *(b'"', b",", b"\t", b";", b"|", b"::", b" ", b"\n", b"\r", b"\r\n", b"\0", b"\xff"),
    *(b"nan", b"None", b"#", b"%", b"sep=;\n", b"\xef\xbb\xbf", b"1e999", b"-", b"1:", b"'"),
    *(b"user,item\n", b"2024-05-31", b"1,5", "é".encode(), b"\x0b", b"()", b"{", b"[", b"  "),
)


def _table(separator: str, *, header: str = "", rows: int = 12) -> bytes:
    lines = [
        separator.join((str(n % 4 + 20), str(n * 7 + 30), str(n % 5 + 1), str(882606572 + n * 60)))
        for n in range(rows)
    ]
    return "\n".join([*([header] if header else []), *lines, ""]).encode()


SEEDS: dict[str, tuple[str, bytes]] = {
    "lightgcn": ("t.txt", b"0 11 12 13\n1 12\n2 14 11\n\n3 11 15 12 13\n"),
    "csv": ("t.csv", _table(",", header="user,item,rating,timestamp")),
    "no header": ("t.txt", _table("\t")),
    "blanks": ("t.dat", _table(" ")),
    "quotes": (
        "t.csv",
        b'user_id;item_id;text;date\n"a";x;"two\nlines; ""so""";31.12.2010\nb;"y";ok;01.01.2011\n',
    ),
    "decimal commas": ("t.csv", b"user;item;rating\n1;10;3,5\n1;11;4,5\n2;10;2,5\n"),
    "movielens": ("ratings.dat", _table("::")),
    "recbole": (
        "t.inter",
        _table("\t", header="user_id:token\titem_id:token\trating:float\ttimestamp:float"),
    ),
    "comments": ("t.csv", b"# exported\n% twice\nsep=;\nuser;item\na;x\nb;y\n"),
}


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to four changes: bytes replaced, inserted, deleted, lines doubled, swapped, cut."""
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        at = rng.randrange(len(data))
        change = rng.randrange(6)
        if change == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif change == 1:
            data = data[:at] + rng.choice(INSERTS) + data[at:]
        elif change == 2:
            data = data[:at] + data[at + rng.randint(1, 8) :]
        elif change == 3:
            lines = data.split(b"\n")
            line = rng.randrange(len(lines))
            data = b"\n".join([*lines[:line], lines[line], *lines[line:]])
        elif change == 4:
            lines = data.split(b"\n")
            rng.shuffle(lines)
            data = b"\n".join(lines)
        else:
            data = data[:at]
    return data


def complaint(name: str, data: bytes, folder: Path) -> str | None:
    """What is wrong with how a file is read; None if nothing is."""
    path = folder / name
    path.write_bytes(data)
    start = time.perf_counter()
    try:
        rows = read_interactions(DataConfig.of(str(path)))
    except AdvrecError as error:
        return f"says that advrec has a bug: {error}" if "bug in advrec" in str(error) else None
    except Exception:
        return traceback.format_exc()
    if time.perf_counter() - start > SLOW:
        return f"took {time.perf_counter() - start:.1f} s"
    if not len(rows.users) == len(rows.items) > 0:
        return "gave no rows, or users and items of different length"
    if rows.format == "lightgcn" or b'"' in data:
        return None
    lines = sum(bool(line.strip(b" \r")) for line in data.split(b"\n"))
    above = sum(line.lstrip()[:1] in (b"#", b"%") for line in data.split(b"\n"))
    return None if lines - above - 2 <= len(rows) <= lines else f"{len(rows)} of {lines} lines"


def fuzz(count: int, *, first: int = 0, progress: Callable[[str], None] = print) -> list[str]:
    """Read `count` mutations of every form; a sentence for each that went wrong."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for form, (name, data) in SEEDS.items():
            for seed in range(first, first + count):
                mutated = mutate(random.Random(f"{form} {seed}"), data)
                found = complaint(name, mutated, Path(folder))
                if found is not None:
                    wrong.append(f"{form}, seed {seed}: {found}\n    {mutated!r}")
            progress(f"{form}: {count} files, {len(wrong)} went wrong so far")
    return wrong


def fuzz_forms(count: int, *, first: int = 0, progress: Callable[[str], None] = print) -> list[str]:
    """The same for JSON, packed, parquet and Arrow files."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support.fuzzed_forms import ARROW_FORMS, FORMS, check

    wrong = []
    for form in (*FORMS, *ARROW_FORMS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                check(form, count, first, Path(folder))
            except Exception:
                wrong.append(f"{form}, seed {first}: {traceback.format_exc()}")
        progress(f"{form}: {count} files, {len(wrong)} went wrong so far")
    return wrong


def main() -> int:
    """Exit code 1 where a file was not read whole or refused in a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="files for each form")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    wrong = fuzz(options.count, first=options.first)
    wrong += fuzz_forms(options.count, first=options.first)
    print("\n".join(wrong[:20]))
    print(f"{options.count} files for each form, {len(wrong)} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
