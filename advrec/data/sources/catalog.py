"""Well-known data sets: what they are, where they come from, and their terms.

A sha256 is given only where it was computed from the published file, or where several independent
parties give the same one. Files in a git repository are fetched from one commit and checked by
their object ids there (`git ls-tree COMMIT`), which anyone can look up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from advrec.data.sources import embedded
from advrec.system.folders import cache_home

GROUPLENS_TERMS = (
    "research use; no commercial use and no redistribution without permission (GroupLens)"
)
GITHUB = "https://raw.githubusercontent.com"
LIGHTGCN = f"{GITHUB}/gusye1234/LightGCN-PyTorch/947ca2b3b1d2d3545b114145710cb06c4e57b3d2/data"
APR = (
    f"{GITHUB}/hexiangnan/adversarial_personalized_ranking"
    "/54f708f9fe4338cdb5ffe82205e69327bf22466a/Data"
)
NCF = (
    f"{GITHUB}/hexiangnan/neural_collaborative_filtering"
    "/4aab159e81c44b062c091bdaed0ab54ac632371f/Data"
)
GROUPLENS = "https://files.grouplens.org/datasets/movielens"


@dataclass(frozen=True)
class Remote:
    """One file to fetch."""

    url: str
    save_as: str
    sha256: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)  # of a zip -> saved as
    git_blob: str | None = None  # object id in its repository


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue."""

    name: str
    about: str
    terms: str
    files: tuple[Remote, ...]
    users: int | None = None  # as published
    items: int | None = None
    pairs: int | None = None


def data_home() -> Path:
    """Where downloads go: $ADVREC_DATA, else advrec/data in the user's cache folder."""
    home = os.environ.get("ADVREC_DATA")
    return Path(home).expanduser() if home else cache_home() / "data"


def _movielens(name: str, sha256: str, users: int, items: int, pairs: int, *members: str) -> Entry:
    archive = Remote(
        f"{GROUPLENS}/{name}.zip",
        f"{name}.zip",
        sha256,
        {f"{name}/{member}": member for member in members},
    )
    about = f"MovieLens {name.removeprefix('ml-').upper()}: film ratings with timestamps and titles"
    return Entry(name, about, GROUPLENS_TERMS, (archive,), users, items, pairs)


def _split_of(
    folder: str, train: str, test: str, test_sha256: str | None = None
) -> tuple[Remote, ...]:
    return (
        Remote(f"{LIGHTGCN}/{folder}/train.txt", "train.txt", git_blob=train),
        Remote(f"{LIGHTGCN}/{folder}/test.txt", "test.txt", test_sha256, git_blob=test),
    )


def _ratings_of(base: str, name: str, train: str, test: str) -> tuple[Remote, ...]:
    return (
        Remote(f"{base}/{name}.train.rating", "train.rating", git_blob=train),
        Remote(f"{base}/{name}.test.rating", "test.rating", git_blob=test),
    )


_ENTRIES = (
    _movielens(
        "ml-100k",
        "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        943,
        1_682,
        100_000,
        "u.data",
        "u.item",
        "README",
    ),
    _movielens(
        "ml-1m",
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        6_040,
        3_706,
        1_000_209,
        "ratings.dat",
        "movies.dat",
        "README",
    ),
    _movielens(
        "ml-20m",
        "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
        138_493,
        26_744,
        20_000_263,
        "ratings.csv",
        "movies.csv",
        "README.txt",
    ),
    _movielens(
        "ml-25m",
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        162_541,
        59_047,
        25_000_095,
        "ratings.csv",
        "movies.csv",
        "README.txt",
    ),
    _movielens(
        "ml-32m",
        "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
        200_948,
        84_432,
        32_000_204,
        "ratings.csv",
        "movies.csv",
        "README.txt",
    ),
    Entry(
        "gowalla",
        "check-ins, the split of NGCF and LightGCN",
        "no licence stated; cite Cho, Myers and Leskovec, KDD 2011",
        _split_of(
            "gowalla",
            "a27782bd7a1d4d0744148dc0460ea94da74763f2",
            "9ed5af4b5d21511f33740b4e22e3852f45671800",
            "099a2a73924e4b754dc6efd730d764f492321b53c38eb93298850c83acf57be3",
        ),
        29_858,
        40_981,
        1_027_370,
    ),
    Entry(
        "yelp2018",
        "businesses, the split of NGCF and LightGCN",
        "terms of the Yelp data set: academic use",
        _split_of(
            "yelp2018",
            "cda12361055ba448ae4bd1070f6000c16dea8f22",
            "30dfbc3437b27b74cb2970b435a5ec93ad9f2468",
        ),
        31_668,
        38_048,
        1_561_406,
    ),
    Entry(
        "amazon-book",
        "books, the split of NGCF and LightGCN",
        "no licence stated; cite He and McAuley, WWW 2016",
        _split_of(
            "amazon-book",
            "6ef55159c5f1fd7f6d86eb9ff290d0cc2854ac99",
            "09e5da4e0bf46c751c4ba0f4375e414fd13512cd",
        ),
        52_643,
        91_599,
        2_984_108,
    ),
    Entry(
        "lastfm",
        "HetRec 2011 Last.fm artists, the split of LightGCN-PyTorch",
        "non-commercial use; cite Cantador, Brusilovsky and Kuflik, HetRec 2011",
        (
            Remote(
                f"{LIGHTGCN}/lastfm/data1.txt",
                "train.tsv",
                git_blob="35bf4551dfd63df6d68be9b09214fafd0927212d",
            ),
            Remote(
                f"{LIGHTGCN}/lastfm/test1.txt",
                "test.tsv",
                git_blob="c4227df62457fa5b3bf2926d13cae0218f2bebea",
            ),
        ),
        1_892,
        4_489,
        52_668,
    ),
    Entry(
        "apr-yelp",
        "businesses, leave-one-out, the set that the authors of APR publish",
        "terms of the Yelp data set: academic use",
        _ratings_of(
            APR,
            "yelp",
            "b812277d9adc8391e0b4cdc6d8d5af551d554b0c",
            "65eb8ca2f0ba7db79ee0da012b608eeab93d54b6",
        ),
    ),
    Entry(
        "ncf-ml-1m",
        "MovieLens 1M, leave-one-out as in NCF and APR",
        GROUPLENS_TERMS,
        _ratings_of(
            NCF,
            "ml-1m",
            "31ba384fd58dac8fbd09d2dfc6616431f3563ab5",
            "1b79e03c96710c3b0c35deb19155ef74f7965a02",
        ),
        6_040,
        3_706,
        1_000_209,
    ),
    Entry(
        "ncf-pinterest",
        "Pinterest pins, leave-one-out as in NCF and APR",
        "no licence stated; cite Geng et al., ICCV 2015",
        _ratings_of(
            NCF,
            "pinterest-20",
            "99813f8ed7486c36fa0f405e3f400db5d6fed0be",
            "87fdbd13bced61c51f2842e2a667e83b9b0084e3",
        ),
    ),
)

CATALOG: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


@dataclass(frozen=True)
class Listed:
    """A line of `advrec data list`."""

    name: str
    state: str  # "embedded", "downloaded" or "can be downloaded"
    users: int | None
    items: int | None
    pairs: int | None
    about: str
    terms: str
    folder: Path | None


def list_datasets(home: Path | None = None) -> tuple[Listed, ...]:
    """The embedded sets, then the catalogue."""
    home = home or data_home()
    lines = []
    for name in embedded.EMBEDDED:
        facts = embedded.provenance(name)
        counts = facts["counts"]
        lines.append(
            Listed(
                name,
                "embedded",
                counts["users"],
                counts["items"],
                counts["pairs"],
                facts["what"],
                facts["terms"],
                None,
            )
        )
    for entry in _ENTRIES:
        folder = home / entry.name
        there = folder.is_dir()
        lines.append(
            Listed(
                entry.name,
                "downloaded" if there else "can be downloaded",
                entry.users,
                entry.items,
                entry.pairs,
                entry.about,
                entry.terms,
                folder if there else None,
            )
        )
    return tuple(lines)
