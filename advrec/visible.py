"""Text that advrec has not written itself, as a terminal, a page or a figure may show it.

An id or a title of a public data file may hold sequences that clear a screen, set the title of a
window, or turn the order of letters. Where people read, such characters are shown by their
numbers; where programs read (`--json`, files) they are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# C0, DEL and C1; soft directions, embeddings, overrides and isolates; ends of lines and paragraphs;
# invisible operators and tags; byte order mark; halves of characters. Joiners (U+200C, U+200D)
# stay: scripts and emoji need them.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
LONGEST_QUOTE = 80  # characters of one quoted piece of an error
LONGEST_SENTENCE = 600  # characters of an error: paths may be long
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_OPENS = r"(?<![^\s(\[{=:,])"  # not a quote that ends: what stands between two quotes is ours
_LONG = f"{{{LONGEST_QUOTE + 1},}}"
_QUOTED = re.compile(rf"{_OPENS}'[^']{_LONG}'|{_OPENS}\"[^\"]{_LONG}\"")


def visible(text: str, *, keep: str = "") -> str:
    r"""The text with unsafe characters by their numbers, as `\x1b`; those to `keep` as they are."""
    if UNSAFE.search(text) is None:
        return text
    return UNSAFE.sub(lambda letter: letter[0] if letter[0] in keep else _number(letter[0]), text)


def in_json(text: str) -> str:
    """A JSON document with unsafe characters as escapes: parsed, it is the same."""
    return UNSAFE.sub(lambda at: at[0] if at[0] == "\n" else _json_escape(at[0]), text)


def shortened(text: str, width: int) -> str:
    """The text, cut to `width` characters with an ellipsis as the last of them."""
    return text if len(text) <= width else text[: width - 1] + "…"


def quoted(value: object, width: int = LONGEST_QUOTE) -> str:
    """`repr` of any value, cut; also of numbers too long for Python to write in decimal."""
    if isinstance(value, str):
        return repr(shortened(value, width))
    if isinstance(value, int) and abs(value) >= 10**width:
        return f"a number of more than {width} digits"
    try:
        text = repr(value)
    except ValueError:  # such a number inside a list or a table
        text = f"a {type(value).__name__} that is too long to show"
    return shortened(text, width)


def listed(names: Iterable[str], width: int = 160) -> str:
    """Names of a file in quotes, as many as fit into `width` characters, and how many more."""
    shown: list[str] = []
    every = list(names)
    for name in every:
        word = quoted(name, 40)
        if shown and sum(map(len, shown)) + 2 * len(shown) + len(word) > width:
            break
        shown.append(word)
    left = len(every) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "")


def sentence(text: str) -> str:
    """What an error says: visible on one line, long quotes cut, and all of it bounded."""
    text = _QUOTED.sub(_cut, visible(text))
    if len(text) <= LONGEST_SENTENCE:
        return text
    head = LONGEST_SENTENCE * 2 // 3
    return f"{text[:head]}…{text[len(text) - (LONGEST_SENTENCE - head - 1) :]}"


def _cut(piece: re.Match[str]) -> str:
    mark = piece[0][0]
    return f"{mark}{shortened(piece[0][1:-1], LONGEST_QUOTE)}{mark}"


def _number(letter: str) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    code = ord(letter)
    width, mark = (2, "x") if code < 0x100 else (4, "u") if code < 0x10000 else (8, "U")
    return f"\\{mark}{code:0{width}x}"


def _json_escape(letter: str) -> str:
    """As two halves above U+FFFF: that is how JSON writes them."""
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
