"""`python -m bench`: measure the claims, write RESULTS.md, RESULTS.json and a plot."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import machine, peers, plot, report
from bench.lab import Lab
from bench.measure import QUICK, Pace
from bench.results import Section
from bench.workload import scratch_folder

CLAIMS = (
    "propagate",
    "lightgcn",
    "mf",
    "nets",
    "ranking",
    "sampler",
    "load",
    "commands",
    "roofline",
    "scale",
)
"""In the order of the report. Each is a module with a TITLE and `run(lab)`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0 if everything ran and computed the same, else 1."""
    options = _options(arguments)
    warnings.filterwarnings("ignore", message=".*[Ss]parse.*")
    started = time.monotonic()
    document = _document(options, sys.argv[1:] if arguments is None else arguments)
    with scratch_folder() as scratch:
        lab = Lab(
            pace=QUICK if options.quick else Pace(rounds=options.rounds),
            threads=options.threads,
            quick=options.quick,
            scratch=Path(scratch),
            data=options.data,
            checkouts=dict(options.checkout),
            largest=options.largest,
        )
        document["data"] = lab.work.about
        fresh: dict[str, dict[str, Any]] = {}
        for name in options.only or CLAIMS:
            section = _measure(name, lab, started, options.minutes)
            fresh[name] = {**section.to_json(), "machine": document["machine"]}
    before = {} if options.quick else _before(options.out.with_suffix(".json"))
    sections = {**before, **fresh}
    document["sections"] = [sections[name] for name in CLAIMS if name in sections]
    document["minutes"] = round((time.monotonic() - started) / 60, 1)
    _write(document, options.out)
    bad = [entry["title"] for entry in fresh.values() if not entry["ok"]]
    for title in bad:
        print(f"not in order: {title}", file=sys.stderr)
    return 1 if bad else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=CLAIMS, help="these claims")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="turns of each")
    parser.add_argument(
        "--threads",
        type=lambda text: tuple(int(part) for part in text.split(",")),
        default=tuple(sorted({1, os.cpu_count() or 1})),
        metavar="N,N",
        help="numbers of threads; by default 1 and all",
    )
    parser.add_argument("--data", metavar="PATH", help="data to measure on, as of `advrec --data`")
    parser.add_argument(
        "--checkout",
        action="append",
        default=[],
        type=_checkout,
        metavar="NAME=PATH",
        help=f"a checkout of {' or '.join(peers.CHECKOUTS)}; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="tiny data, one round: does it work?")
    parser.add_argument("--out", type=Path, metavar="FILE", help="bench/RESULTS.md by default")
    parser.add_argument(
        "--largest", type=float, default=1e7, metavar="N", help="pairs at the end of the curve"
    )
    parser.add_argument(
        "--minutes", type=float, default=20, metavar="N", help="start no claim after so long"
    )
    options = parser.parse_args(arguments)
    if options.out is None:  # a quick report is not a result
        quick = Path(__file__).parent.parent / "build" / "bench" / "QUICK.md"
        options.out = quick if options.quick else Path(__file__).with_name("RESULTS.md")
    options.largest = int(options.largest)
    return options


def _checkout(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in peers.CHECKOUTS:
        raise argparse.ArgumentTypeError(f"{name!r} is not {' or '.join(peers.CHECKOUTS)}")
    folder = Path(path).expanduser().resolve()
    if not (folder / peers.CHECKOUTS[name]).is_file():
        raise argparse.ArgumentTypeError(f"{folder} has no {peers.CHECKOUTS[name]}")
    return name, folder


def _document(options: argparse.Namespace, arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "command": shlex.join(["python", "-m", "bench", *arguments]),
        "quick": options.quick,
        "machine": machine.describe(),
    }


def _measure(name: str, lab: Lab, started: float, minutes: float) -> Section:
    claim = importlib.import_module(f"bench.claims.{name}")
    section = Section(name, claim.TITLE)
    if time.monotonic() - started > 60 * minutes:
        section.failure = f"not begun: {minutes:g} minutes were over"
        return section
    lab.say(f"{claim.TITLE} ({name})")
    watch, began = machine.Watch(), time.monotonic()
    try:
        section.parts = claim.run(lab)
    except Exception as error:
        traceback.print_exc()
        section.failure = f"{type(error).__name__}: {error}"
    section.seconds = round(time.monotonic() - began, 1)
    section.foreign = watch.foreign()
    return section


def _before(path: Path) -> dict[str, dict[str, Any]]:
    """Sections of an earlier run, for the claims that this one does not measure."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if document.get("quick"):
        return {}
    return {section["name"]: section for section in document["sections"]}


def _write(document: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    picture = out.with_suffix(".png")
    drawn = plot.draw(document, picture)
    out.write_text(report.markdown(document, picture.name if drawn else None))
    print(out)


if __name__ == "__main__":
    sys.exit(main())
