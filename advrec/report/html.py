"""An audit as one HTML file that needs nothing else: no network, no scripts, no other file.

The page is a function of the audit's JSON document. Everything in it that comes from data, runs or
files is escaped where it is put into the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from advrec.report import audit as tables
from advrec.report.html_chart import bracket, legend
from advrec.report.html_style import STYLE
from advrec.report.table import Cell, Column, Table

Document = Mapping[str, Any]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The browser itself refuses whatever would need the network."""


def page(document: Document) -> str:
    """The whole file."""
    names = " and ".join(subject["name"] for subject in document["subjects"])
    title = f"Robustness of {names}"
    sections = [
        ("verdict", "Verdict", _verdict(document)),
        ("bracket", "Certified and attacked", _brackets(document)),
        ("attacks", "Every attack", _attacks(document)),
        ("certificates", "Certificates", _certificates(document)),
        ("practice", "Storing and serving", _practice(document)),
        ("fairness", "Whom it hits", _fairness(document)),
        ("flags", "Flags", _flags(document)),
        ("protocol", "Protocol", _protocol(document)),
        ("reproduce", "How to reproduce", _reproduce(document)),
    ]
    shown = [(key, head, body) for key, head, body in sections if body]
    contents = "".join(f'<li><a href="#{key}">{escape(head)}</a></li>' for key, head, _ in shown)
    first, *rest = (
        f'<section id="{key}" aria-labelledby="{key}-head"><h2 id="{key}-head">{escape(head)}</h2>'
        f"{body}</section>"
        for key, head, body in shown
    )
    nav = (
        f'<nav aria-labelledby="contents-head"><h2 id="contents-head">Contents</h2>'
        f"<ol>{contents}</ol></nav>"
    )
    data = document["data"]
    about = (
        f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['train']:,} "
        f"training pairs · {document['metric']} on the {document['part']} part · "
        f"{document['created']} · advrec {document['advrec']}"
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#verdict">Skip to the verdict</a>\n'
        f'<header><p class="about">Robustness audit</p><h1>{escape(title)}</h1>'
        f'<p class="about">{escape(about)}</p></header>\n<main>{first}{nav}{"".join(rest)}'
        f"</main>\n"
        f"<footer>Made by advrec {escape(str(document['advrec']))}. The same figures as JSON: "
        f"<code>{escape(document['json'])}</code>.</footer>\n</body>\n</html>\n"
    )


def table(content: Table) -> str:
    """A table that can be scrolled with the keyboard where it is wider than the window."""
    numeric = [
        any(isinstance(row[place], (int, float)) for row in content.rows)
        for place in range(len(content.columns))
    ]

    def cell(tag: str, text: str, place: int, more: str = "") -> str:
        kind = ' class="n"' if numeric[place] else ""
        return f"<{tag}{kind}{more}>{escape(text)}</{tag}>"

    head = "".join(
        cell("th", column.name, place, ' scope="col"')
        for place, column in enumerate(content.columns)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            cell("th" if place == 0 else "td", _words(column, value), place,
                 ' scope="row"' if place == 0 else "")
            for place, (column, value) in enumerate(zip(content.columns, row, strict=True))
        )
        + "</tr>"
        for row in content.rows
    )  # fmt: skip
    caption = escape(content.title)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        f"</table></div>{_notes(content.notes)}"
    )


def _words(column: Column, value: Cell) -> str:
    """A cell as text; of numbers `-12.3%` → `−12.3 %`, which no line break parts."""
    text = column.show(value)
    if not isinstance(value, (int, float)):
        return text
    if text.endswith("%"):
        text = f"{text[:-1]} %"
    return _whole(text.replace("-", "\u2212", 1) if text.startswith("-") else text)


def _whole(text: str) -> str:
    """Without line breaks between a number and its sign of percent, or in `ρ = 5 %`."""
    return text.replace(" %", "\xa0%").replace("ρ = ", "ρ\xa0=\xa0").replace("ε = ", "ε\xa0=\xa0")


def _notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="note">{escape(_whole(note))}</p>' for note in notes)


def _verdict(document: Document) -> str:
    """Three sentences for each model, and one table of all."""
    several = len(document["subjects"]) > 1
    parts = []
    for subject in document["subjects"]:
        head = f"<h3>{escape(subject['name'])}</h3>" if several else ""
        sentences = _whole(" ".join(subject["verdict"]))
        parts.append(f'<div class="verdict">{head}<p>{escape(sentences)}</p></div>')
    return "".join(parts) + table(tables.glance_table(document))


def _brackets(document: Document) -> str:
    metric = document["metric"]
    top = max(subject["clean"][metric] for subject in document["subjects"])
    kinds = (("rho", "relative budget ρ (log scale)"), ("eps", "absolute budget ε (log scale)"))
    figures, numbers, drawn = [], [], set()
    for subject in document["subjects"]:
        for kind, axis in kinds:
            points = subject[kind]
            if not points:
                continue
            numbers.append(table(tables.bracket_table(subject, kind, metric)))
            if len(points) < 2:
                continue
            drawn |= {
                name for point in points for name, value in point.items() if value is not None
            }
            svg = bracket(
                points, subject["clean"][metric], metric=metric, axis=axis,
                relative=kind == "rho", top=top,
            )  # fmt: skip
            caption = f"{subject['name']}: {metric}"
            figures.append(f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>")
    return (
        "<p>An attack shows what one search has found, a certificate bounds what any search can "
        "find. What the worst perturbation within a budget leaves lies in the band between the "
        f'two.</p>{legend(sorted(drawn))}<div class="figures">{"".join(figures)}</div>'
        f"{''.join(numbers)}"
    )


def _attacks(document: Document) -> str:
    shown = [
        table(tables.suite_table(subject, document["metric"], *_shown_budget(subject, document)))
        for subject in document["subjects"]
        if subject["members"]
    ]
    if not shown:
        return ""
    return (
        "<p>Label-free attacks know the model and its training data, which is what an attacker or "
        "an accident may have. Oracle attacks also know the held-out items that the metric counts: "
        f"no attacker does, so they bound the worst.</p>{''.join(shown)}"
    )


def _shown_budget(subject: Document, document: Document) -> tuple[str, float]:
    """The headline; for a model without relative attacks the middle absolute budget."""
    sizes = sorted({m["size"] for m in subject["members"] if m["budget"] == "eps"})
    if any(member["budget"] == "rho" for member in subject["members"]) or not sizes:
        return "rho", document["headline"]
    return "eps", sizes[len(sizes) // 2]


def _certificates(document: Document) -> str:
    parts = []
    for subject in document["subjects"]:
        facts = subject["certificate"]
        if facts.get("refused"):
            lines = [("not certified", facts["refused"])]
        else:
            median = facts["median_radius"]
            lines = [
                ("site", facts["site"]),
                ("radius of a pair", "exact" if facts["exact"] else "sound, a lower bound"),
                ("median radius of a hit", "–" if median is None else f"ρ = {100 * median:.2f} %"),
                ("hits", f"{facts['hits']:,} held-out items among the top {document['k']}"),
                (
                    "checked",
                    f"certified ≤ attacked for each of {facts['users']:,} users, at every budget:"
                    f" {facts['violations'] or 'no'} violation"
                    f"{'' if facts['violations'] == 1 else 's'}",
                ),
            ]
            if facts["floored"]:
                lines.append(("canonical form", "too few users or directions; eigenvalues raised"))
        parts.append(f"<h3>{escape(subject['name'])}</h3>{_facts(lines)}")
    return (
        "<p>Computed from the vectors, not searched for: within the radius of a held-out item no "
        "perturbation, however it was made, can push it out of the list.</p>" + "".join(parts)
    )


def _practice(document: Document) -> str:
    return "".join(
        table(tables.practical_table(subject, document["metric"]))
        if subject["practical"]
        else _notes([f"{subject['name']}: {subject['practical_refused']}"])
        for subject in document["subjects"]
    )


def _fairness(document: Document) -> str:
    parts = []
    for subject in document["subjects"]:
        if subject["groups"]:
            parts.append(table(tables.groups_table(subject, document)))
        if subject["worst_items"]:
            parts.append(table(tables.items_table(subject)))
        if subject["worst_users"]:
            parts.append(table(tables.users_table(subject)))
    return "".join(parts)


def _flags(document: Document) -> str:
    parts = []
    for subject in document["subjects"]:
        items = "".join(
            f"<li><strong>{escape(flag['raised'])}</strong><br>{escape(flag['means'])} "
            f"{escape(flag['do'])}</li>"
            for flag in subject["flags"]
        )
        head = f"<h3>{escape(subject['name'])}</h3>"
        none = f'<p class="good">No flag is raised: {len(document["checked"])} were checked.</p>'
        parts.append(head + (f'<ul class="flags">{items}</ul>' if items else none))
    return "<p>Signs that a figure above misleads, each checked on these results.</p>" + "".join(
        parts
    )


def _protocol(document: Document) -> str:
    parts = [_facts(document["protocol"])]
    for subject in document["subjects"]:
        parts.append(f"<h3>{escape(subject['name'])}</h3>{_facts(subject['origin'])}")
    return "".join(parts)


def _reproduce(document: Document) -> str:
    return f"<pre><code>{escape(chr(10).join(document['commands']))}</code></pre>"


def _facts(lines: Sequence[Sequence[Any]]) -> str:
    rows = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in lines
    )
    return f"<dl>{rows}</dl>"
