"""What the text of a flag or argument may be, checked once, before any command sees its value.

Python reads `1_000`, `²` or a thousand digits in its own way, and the system refuses names that are
too long in the middle of the work. Here each is a sentence with exit code 2.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import typer

from advrec.options import COUNTS, SEEDS, place, plain_text
from advrec.visible import quoted

WHOLE = re.compile("[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
PLACES = ("a", "b", "run", "runs", "from_", "resume", "name", "data", "features", "item_names")
"""Parameters of text that may be names of runs or paths."""
LISTS = ("noise", "eps", "site", "metrics", "metric", "k", "rho", "lr", "adv_weight", "column")
"""Parameters of text that hold values with commas between them."""
WRITTEN = ("out", "plot", "radii", "per_user")
"""Parameters of paths that become files or folders, and need a name of their own."""


class BadValue(typer.BadParameter):
    """A value that a flag does not take. The message follows the flag: "must be …, got …".

    `failures` adds the nearest of the `choices` as a hint.
    """

    def __init__(self, message: str, *, flag: str | None = None, near: Sequence[str] = ()) -> None:
        super().__init__(message, param_hint=flag)
        self.possibilities = near

    def of(self, param: Any, context: Any) -> BadValue:
        """The same about this parameter of a command."""
        self.param, self.ctx = param, context
        return self

    def format_message(self) -> str:
        """The whole sentence."""
        name = (getattr(self.param, "opts", None) or ["value"])[0]
        if not name.startswith("-"):  # an argument, which the help calls by its metavar
            name = f"argument {(getattr(self.param, 'metavar', None) or name).strip('[]')}"
        return f"{self.param_hint or name} {self.message}"


def whole_number(text: str, most: int = COUNTS - 1) -> int:
    """A whole number between -`most` and `most`, in plain digits. Raises BadValue."""
    if not WHOLE.fullmatch(text.strip()):
        raise BadValue(f"must be a whole number, got {quoted(text)}")
    digits = text.strip().lstrip("+-").lstrip("0")
    if len(digits) > len(str(most)) or abs(value := int(text)) > most:
        raise BadValue(f"must be a whole number of at most {most}, got {quoted(text)}")
    return value


def number(text: str) -> float:
    """A finite number in plain digits. Raises BadValue."""
    if not NUMBER.fullmatch(text.strip()):
        word = text.strip().lower().lstrip("+-")
        kind = "a finite number" if word in ("inf", "infinity", "nan") else "a number"
        raise BadValue(f"must be {kind}, got {quoted(text)}")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise BadValue(f"must be a finite number, got {quoted(text)}")
    return value


def one_or_more(text: str) -> str:
    """Values with commas between them, at least one. Raises BadValue."""
    if not plain_text(text).strip(", "):
        raise BadValue(f"must name at least one value, got {quoted(text)}")
    return text


def written(text: str) -> str:
    """The path of a file or folder to write, which has a name. Raises BadValue."""
    if Path(place(text)).name in ("", ".."):
        raise BadValue(f"must be a path with a name at its end, got {quoted(text)}")
    return text


def check_texts(params: Sequence[Any], callback: Callable[..., Any] | None) -> None:
    """Check what is typed for these parameters by what `callback` declares them to be.

    This wraps the parameters' own conversion, which every version of typer has.
    """
    declared = inspect.signature(callback, eval_str=True).parameters if callback else {}
    for param in params:
        check = _check_of(param.name, declared[param.name]) if param.name in declared else None
        if check is not None:
            param.process_value = _checking(check, param, param.process_value)


def _check_of(name: str, parameter: inspect.Parameter) -> Callable[[str], Any] | None:
    """How the text of a parameter is checked; None for a flag without a value."""
    kinds = _leaves(parameter.annotation)
    if bool in kinds:
        return None
    if int in kinds:
        return lambda text: whole_number(text, (SEEDS if name.endswith("seed") else COUNTS) - 1)
    if float in kinds:
        return number
    if Path in kinds:
        return written if name in WRITTEN else place
    if name in PLACES:
        return place
    return one_or_more if name in LISTS else plain_text


def _leaves(annotation: Any) -> set[Any]:
    """The types that an annotation is made of: `list[str] | None` → str, list, None."""
    parts = get_args(annotation)
    if not parts:
        return {annotation}
    return set().union(*map(_leaves, parts[:1] if hasattr(annotation, "__metadata__") else parts))


def _checking(
    check: Callable[[str], Any], param: Any, convert: Callable[..., Any]
) -> Callable[..., Any]:
    def process(context: Any, value: Any) -> Any:
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and text != getattr(param, "default", None):
                try:
                    check(text)
                except BadValue as wrong:
                    raise wrong.of(param, context) from None
                except ValueError as wrong:
                    message = f"must be {wrong}, got {quoted(text)}"
                    raise BadValue(message).of(param, context) from None
        return convert(context, value)

    return process
