"""RESULTS.md from the results as JSON, so that a single claim can be measured again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.machine import QUIET


def markdown(document: dict[str, Any], plot: str | None) -> str:
    """The whole report."""
    lines = ["# Benchmarks", ""]
    if document["quick"]:
        lines += ["**A quick run, to see that everything works: the figures mean nothing.**", ""]
    lines += [f"Made by `{document['command']}`.", "", *_machine(document["machine"]), ""]
    lines += [f"Data: {document['data']}.", "", *_how(), ""]
    verdicts = [
        (section["title"], verdict)
        for section in document["sections"]
        for part in section["parts"]
        for verdict in part.get("verdicts", ())
    ]
    if verdicts:
        lines += ["## Targets", ""]
        rows = [
            (v["text"], v["threads"], v["found"], v["state"])
            for _, v in verdicts
            if v["state"] != "not measured"
        ]
        lines += [*_table(("target", "threads", "found", ""), rows), ""]
    if plot is not None:
        lines += [f"![How many times as long as advrec]({plot})", ""]
    for section in document["sections"]:
        lines += _section(section, document["machine"])
    return "\n".join(lines).rstrip() + "\n"


def _machine(machine: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v is not None)
    lines = [
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; instruction set of the core: {machine['instruction_set']}.",
        f"Versions: Python {machine['python']}, {versions}.",
    ]
    if machine["environment"]:
        pairs = ", ".join(f"{k}={v}" for k, v in machine["environment"].items())
        lines.append(f"Environment: {pairs}.")
    return lines


def _how() -> list[str]:
    return [
        "Project and peers take turns within one process, block by block. *min* and *median* are "
        "over the rounds, *spread* is how far the slowest round lies above the fastest. *× ours* "
        "is how many times as long as advrec it takes (of the minima; in brackets the least and "
        "the most within one round). Ratios below 1.3 are unresolved.",
    ]


def _section(section: dict[str, Any], machine: dict[str, Any]) -> list[str]:
    lines = [f"## {section['title']}", ""]
    if section["failure"]:
        lines += [f"**Ended early: {section['failure']}**", ""]
    if section.get("machine", machine) != machine:
        lines += ["Measured in another run:", *_machine(section["machine"]), ""]
    foreign = section["foreign"]
    if foreign is not None and foreign > QUIET:
        lines += [
            f"**Disturbed: other processes used {foreign:.0%} of the machine meanwhile.**",
            "",
        ]
    for part in section["parts"]:
        lines += _timings(part) if part["kind"] == "timings" else _facts(part)
    return lines


def _timings(part: dict[str, Any]) -> list[str]:
    unit = part["unit"]

    def shown(seconds: float) -> str:
        value = unit["factor"] / seconds if unit["rate"] else unit["factor"] * seconds
        return figure(value)

    rows = []
    for timing in part["timings"]:
        ratio = timing["ratio"]
        rows.append(
            (
                timing["name"] + (f" ({timing['remark']})" if timing["remark"] else ""),
                timing["threads"],
                shown(timing["best"]),
                shown(timing["median"]),
                f"{timing['spread']:.0%}",
                len(timing["rounds"]),
                ""
                if ratio is None
                else f"{figure(ratio['value'])} ({figure(ratio['low'])}–{figure(ratio['high'])})",
            )
        )
    best = "max" if unit["rate"] else "min"
    columns = (unit["label"], "threads", best, "median", "spread", "rounds", "× ours")
    lines = [f"### {part['title']}", "", *_table(columns, rows), ""]
    lines += [f"- missing: {text}" for text in part["missing"]]
    return [*lines, *_tail(part)]


def _facts(part: dict[str, Any]) -> list[str]:
    rows = [[_cell(cell) for cell in row] for row in part["rows"]]
    return [f"### {part['title']}", "", *_table(part["columns"], rows), "", *_tail(part)]


def _tail(part: dict[str, Any]) -> list[str]:
    lines = []
    for what in dict.fromkeys(check["what"] for check in part["checks"]):
        found = [
            f"{check['who']} {check['found']}".strip() + ("" if check["ok"] else " **FAILED**")
            for check in part["checks"]
            if check["what"] == what
        ]
        lines.append(f"- checked: {what}: {', '.join(found)}")
    if part["note"]:
        lines += ["", part["note"]]
    return [*lines, ""]


def _table(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(str(cell) for cell in cells) + " |"

    return [line(columns), "|---" + "|---:" * (len(columns) - 1) + "|", *map(line, rows)]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return figure(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def figure(value: float) -> str:
    """Three digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
