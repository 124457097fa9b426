#!/usr/bin/env python3
"""Build the embedded data set from a Debian package index.

A user is a source package; an item is a binary package which one of its binaries depends on or
recommends. The rules, in order:

1. of each binary package, the fields Depends and Recommends;
2. of each dependency its first alternative, without version bounds and architecture qualifiers;
3. dropped: a name that no package of the index has (virtual packages), and a package that the same
   source builds;
4. repeated pairs counted once, then the 5-core: users and items with at least 5 pairs each.

Only the standard library is used, and the output depends on nothing but the index: the same index
gives the same content. Examples:

    python data/build_debian.py             # downloads the index and its signed release file
    python data/build_debian.py Packages.xz --release InRelease
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SUITE = "bookworm"
INDEX = "main/binary-amd64/Packages"
MIRROR = "https://deb.debian.org/debian/dists"
CORE = 5
FIELDS = ("Depends", "Recommends")
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "advrec" / "data" / "debian"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]+")

Stanza = dict[str, str]
Pair = tuple[str, str]  # source package, binary package


def main(arguments: list[str] | None = None) -> int:
    """Build and say what was built."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "packages", nargs="?", help="a Packages file, plain, .gz, .xz or .lz4; default: download it"
    )
    parser.add_argument("--release", help="the InRelease file that names the index and its date")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write")
    options = parser.parse_args(arguments)

    index, release = read_inputs(options.packages, options.release)
    stanzas = list(parse_index(index.decode()))
    pairs = k_core(dependency_pairs(stanzas), CORE)
    facts = provenance(index, release, stanzas, pairs)
    write(options.out, stanzas, pairs, facts)
    print(f"{options.out}: {facts['counts']}")
    return 0


def read_inputs(packages: str | None, release: str | None) -> tuple[bytes, str | None]:
    """The index, unpacked, and the text of its release file, if there is one."""
    if packages is not None:
        return unpack(Path(packages)), Path(release).read_text() if release else None
    index = lzma.decompress(fetch(f"{MIRROR}/{SUITE}/{INDEX}.xz"))
    text = Path(release).read_text() if release else fetch(f"{MIRROR}/{SUITE}/InRelease").decode()
    return index, text


def fetch(url: str) -> bytes:
    """The content of a URL."""
    print(f"fetching {url}", file=sys.stderr)
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def unpack(path: Path) -> bytes:
    """The content of a file; its ending says how it is packed."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".lz4":
        return subprocess.run(["lz4", "-dc", str(path)], check=True, capture_output=True).stdout
    return path.read_bytes()


def parse_index(text: str) -> Iterator[Stanza]:
    """The stanzas of an index; a field that continues over lines is joined with blanks."""
    stanza: Stanza = {}
    field = ""
    for line in text.split("\n"):
        if not line.strip():
            if stanza:
                yield stanza
            stanza = {}
        elif line[0] in " \t":
            stanza[field] += " " + line.strip()
        else:
            field, _, value = line.partition(":")
            stanza[field] = value.strip()
    if stanza:
        yield stanza


def source_of(stanza: Stanza) -> str:
    """The source package: `Source`, without its version, or the package's own name."""
    return stanza.get("Source", stanza["Package"]).split()[0]


def dependency_pairs(stanzas: list[Stanza]) -> set[Pair]:
    """Rules 1 to 3."""
    sources = {stanza["Package"]: source_of(stanza) for stanza in stanzas}
    pairs = set()
    for stanza in stanzas:
        user = source_of(stanza)
        for field in FIELDS:
            for dependency in stanza.get(field, "").split(","):
                match = NAME.match(dependency.strip())
                item = match.group() if match else ""
                if item in sources and sources[item] != user:
                    pairs.add((user, item))
    return pairs


def k_core(pairs: set[Pair], k: int) -> set[Pair]:
    """The largest subset in which every user and every item has at least k pairs."""
    while True:
        users = Counter(user for user, _ in pairs)
        items = Counter(item for _, item in pairs)
        kept = {(u, i) for u, i in pairs if users[u] >= k and items[i] >= k}
        if len(kept) == len(pairs):
            return kept
        pairs = kept


def provenance(
    index: bytes, release: str | None, stanzas: list[Stanza], pairs: set[Pair]
) -> dict[str, object]:
    """Where the set comes from. Raises SystemExit where the release file names another index."""
    digest = hashlib.sha256(index).hexdigest()
    date = None
    if release is not None:
        if digest not in release:
            raise SystemExit(f"the release file does not list sha256 {digest} of the index")
        date = re.search(r"^Date: (.*)$", release, re.MULTILINE)
    version = None if release is None else re.search(r"^Version: (.*)$", release, re.MULTILINE)
    return {
        "what": "which binary packages a Debian source package depends on or recommends",
        "index": f"{MIRROR}/{SUITE}/{INDEX}.xz",
        "release": None if version is None else f"Debian {version.group(1)} ({SUITE})",
        "date": None if date is None else date.group(1),
        "index_sha256": digest,
        "index_bytes": len(index),
        "packages": len(stanzas),
        "rules": [
            "fields Depends and Recommends of every binary package",
            "first alternative, no version bounds, no architecture qualifier",
            "no virtual packages, no package of the same source",
            f"unique pairs, {CORE}-core",
        ],
        "counts": {
            "users": len({user for user, _ in pairs}),
            "items": len({item for _, item in pairs}),
            "pairs": len(pairs),
        },
        "terms": "facts of a public package index (names, sections, one-line descriptions); "
        "see https://www.debian.org/legal/licenses/",
        "builder": "python data/build_debian.py",
    }


def write(out: Path, stanzas: list[Stanza], pairs: set[Pair], facts: dict[str, object]) -> None:
    """interactions.txt.gz: `user item item …`, an item its line in items.tsv.gz, from 0."""
    described: dict[str, Stanza] = {}
    for stanza in stanzas:
        described.setdefault(stanza["Package"], stanza)
    items = sorted({item for _, item in pairs})
    codes = {item: code for code, item in enumerate(items)}
    rows: dict[str, list[int]] = {}
    for user, item in sorted(pairs):
        rows.setdefault(user, []).append(codes[item])
    lines = [" ".join([user, *map(str, row)]) for user, row in rows.items()]
    table = ["item\tsection\tdescription"]
    for item in items:
        stanza = described[item]
        fields = (item, stanza.get("Section", ""), stanza.get("Description", ""))
        table.append("\t".join(" ".join(field.split()) for field in fields))
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("interactions.txt.gz", lines), ("items.tsv.gz", table)):
        packed = gzip.compress(("\n".join(content) + "\n").encode(), compresslevel=9, mtime=0)
        (out / name).write_bytes(packed)
    (out / "PROVENANCE.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
