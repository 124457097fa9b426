"""The two streams: results on stdout, everything else on stderr.

rich already honours NO_COLOR, TERM=dumb and FORCE_COLOR. Added here: a table written to
a pipe is not cut to 80 columns, and `--json` output is plain, stable and free of NaN.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from advrec.visible import in_json, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

    from advrec.report.table import Table as Report

PIPE_WIDTH = 200
"""Columns of a table that is not written to a terminal, unless COLUMNS is set."""


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console

    class VisibleConsole(Console):
        """Whatever is printed, no control character of its text reaches the terminal."""

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control:
                    yield segment
                else:
                    yield segment._replace(text=visible(segment.text, keep="\n"))

    return VisibleConsole


def _console(stream: IO[str]) -> Console:
    piped = not stream.isatty() and "COLUMNS" not in os.environ
    return _console_class()(file=stream, width=PIPE_WIDTH if piped else None, highlight=False)


def stdout() -> Console:
    """The console of results, bound to the current `sys.stdout`."""
    return _console(sys.stdout)


def stderr() -> Console:
    """The console of progress, notes and errors."""
    return _console(sys.stderr)


def tolerate_narrow_encodings() -> None:
    """Replace characters that the terminal's encoding lacks (λ under LANG=C) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def note(message: str, *, quiet: bool = False) -> None:
    """One line on stderr about what was understood or done; nothing if `quiet`."""
    if not quiet:
        stderr().print(visible(message), markup=False, style="dim", soft_wrap=True)


def escaped(text: str) -> str:
    """Text that is not advrec's own as it may stand among rich's markup: visible and literal."""
    from rich.markup import escape

    return escape(visible(text))


def table(
    columns: Sequence[str],
    *,
    title: str | None = None,
    left: int = 1,
    wrap: Sequence[str] = (),
) -> Table:
    """An empty results table: the first `left` columns are text, the others are numbers.

    Only the columns named in `wrap` may be broken into lines; they are text at any position.
    """
    from rich import box
    from rich.table import Table

    empty = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for number, name in enumerate(columns):
        text = number < left or name in wrap
        empty.add_column(name, justify="left" if text else "right", no_wrap=name not in wrap)
    return empty


def show(rows: Table | str) -> None:
    """Print a results table, or a line of results, on stdout."""
    if isinstance(rows, str):
        stdout().print(visible(rows), markup=False, soft_wrap=True)
        return
    from rich.text import Text

    console = stdout()
    # A number that is cut is worse than a line that the terminal breaks.
    for column in rows.columns:
        if column.no_wrap:
            texts = [column.header, *column.cells]
            column.min_width = max(
                Text.from_markup(line).cell_len for text in texts for line in str(text).split("\n")
            )
    unbounded = console.options.update(width=10_000)
    console.width = max(console.width, console.measure(rows, options=unbounded).minimum)
    console.print(rows)


def show_report(report: Report) -> None:
    """Print a table of the library on stdout: repeated text once, numbers aligned right."""
    numeric = [
        any(isinstance(row[place], int | float) for row in report.rows)
        for place in range(len(report.columns))
    ]
    left = numeric.index(True) if True in numeric else len(numeric)
    names = [escaped(column.name) for column in report.columns]
    rows = table(names, title=escaped(report.title), left=left)
    before: list[str] = []
    for row in report.rows:
        cells = [column.show(cell) for column, cell in zip(report.columns, row, strict=True)]
        same = 0
        while same < left and before[same : same + 1] == [cells[same]]:
            same += 1
        if before and same == 0 and left > 1:
            rows.add_section()
        rows.add_row(*("" if place < same else escaped(text) for place, text in enumerate(cells)))
        before = cells
    show(rows)
    for line in report.notes:
        stdout().print(visible(line), markup=False, style="dim", soft_wrap=True)


def show_reports(reports: Sequence[Report]) -> None:
    """Print tables of the library on stdout, with an empty line between two."""
    for place, report in enumerate(reports):
        if place:
            show("")
        show_report(report)


def facts(pairs: Iterable[tuple[str, object]], *, title: str | None = None) -> None:
    """Print names and values in two columns on stdout; long values are not broken."""
    rows = [(visible(name), str(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    console = stdout()
    if title is not None:
        console.print(f"[bold]{escaped(title)}[/]", soft_wrap=True)
    for name, value in rows:
        console.print(f"[cyan]{escaped(name.ljust(width))}[/]  {escaped(value)}", soft_wrap=True)


def plain(value: Any) -> Any:
    """A value JSON can hold: numpy scalars and arrays unpacked, NaN and infinities as null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, Iterable) else str(value)


def emit_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document, indented, in the order given, to stdout."""
    text = json.dumps(plain(document), indent=2, ensure_ascii=False)
    sys.stdout.write(in_json(text) + "\n")


def percent(share: float, digits: int = 1) -> str:
    """`0.123` → `12.3 %`; not finite → `–`."""
    return "–" if not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def figure(value: float | None, digits: int = 4) -> str:
    """A metric with a fixed number of digits; `–` if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"


def count(number: int) -> str:
    """`115003` → `115,003`."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """`75` → `1 min 15 s`; `0.42` → `0.4 s`; `7260` → `2 h 01 min`."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
