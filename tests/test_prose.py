"""One voice: plain technical English in all that people read, and one register of errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = [*ROOT.glob("advrec/**/*.py"), *ROOT.glob("cli/**/*.py")]
PYTHON = [*LIBRARY, *ROOT.glob("bench/**/*.py"), *ROOT.glob("scripts/*.py")]
NATIVE = [path for path in ROOT.glob("csrc/**/*.*") if not path.is_dir()]
# ARCHITECTURE.md lists the words that were replaced.
DOCUMENTS = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "bench" / "NOTES.md"]
    if path.name != "ARCHITECTURE.md"
]

# Habits of translated or archaic English (without groups), and what to write instead.
HABITS = {
    r"\b(?:nobody|somebody|whoever|everybody)\b": "name who is meant",
    r"\bforetold\b|\bforetells?\b": "estimated, predicted",
    r"\b(?:cannot|can|to) be had\b": "unavailable, available",
    r"\bbeside\b": "next to, in addition to, compared with",
    r"\bgo(?:es)? on\b": "continue, resume",
    r"\bnumbers that are none\b": "non-finite values",
    r"(?<!there )\b(?:is|are) no (?!longer\b|more\b|less\b|\w+er\b)": "is not a, are not",
    r"\b(?:bytes|ms|ns|s|seconds|steps|products|triplets|samples|rows)"
    r" an? (?:step|epoch|second|batch|row|pair|triplet|user|item|block)\b": "per",
    r"\b(?:thereof|wherein|whence|thereby|lest)\b": "plain words",
}

# Names of variables that do not say what they hold.
VAGUE = {"found", "made", "said"}


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def parsed(words: str) -> Iterator[tuple[Path, ast.Module]]:
    """The syntax trees of the library's files that have one of these words: parsing takes time."""
    for path in LIBRARY:
        if re.search(words, read(path)):
            yield path, ast.parse(read(path))


def text_of(node: ast.expr) -> str | None:
    """The text of a string literal or an f-string, with `{}` for each value; None for others."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or "{}") + (text_of(node.right) or "{}")
    return None


def sentences(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Messages and hints of errors, with their lines: in calls of `…Error`, and by name."""
    for node in ast.walk(tree):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name == "Interrupted" or (
                name.endswith("Error") and not name.startswith("Pydantic")
            ):
                values += node.args
            values += [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
        elif isinstance(node, ast.Assign):
            names = {getattr(target, "id", "") for target in node.targets}
            values += [node.value] if names & {"message", "hint"} else []
        for value in values:
            if text := text_of(value):
                yield value.lineno, text


def faults_of_register(tree: ast.Module) -> list[tuple[int, str]]:
    """Messages that begin with a capitalised word, or end like a sentence."""
    return [
        (line, text)
        for line, text in sentences(tree)
        if re.match(r"([A-Z][a-z]+|A)\b", text) or re.search(r"[^.\s][.!]\s*$", text)
    ]


def vague_names(tree: ast.Module) -> set[tuple[int, str]]:
    """Local variables and parameters with a name from VAGUE; fields of classes may have one."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function)]
    stored = {
        (node.lineno, node.id)
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE
    }
    return stored | {(n.lineno, n.arg) for n in nodes if isinstance(n, ast.arg) and n.arg in VAGUE}


def habits_in(text: str) -> list[tuple[int, str]]:
    """Each habit in a text, with its line and what to write instead."""
    any_habit = re.compile("|".join(f"({habit})" for habit in HABITS))
    better = list(HABITS.values())
    return [
        (
            text.count("\n", 0, at.start()) + 1,
            f"{at[0]!r}, better: {better[(at.lastindex or 1) - 1]}",
        )
        for at in any_habit.finditer(text.lower())
    ]


def test_no_text_has_a_habit_of_translated_english() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {fault}"
        for path in [*PYTHON, *NATIVE, *DOCUMENTS]
        for line, fault in habits_in(read(path))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Two lines.\nBeside the point.", 2),
        ("A share above 100 % is no mistake.", 1),
        ("It takes 8 bytes a row.", 1),
        ("The core cannot be had.", 1),
    ],
)
def test_a_habit_is_found_with_its_line(text: str, line: int) -> None:
    assert [at for at, _ in habits_in(text)] == [line]


def test_plain_english_is_not_a_habit() -> None:
    assert not habits_in(
        "There is no run, it is no longer here, and besides takes 8 bytes per row."
    )


def test_errors_begin_in_lower_case_and_have_no_full_stop() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path, tree in parsed(r"Error\(|hint")
        for line, text in faults_of_register(tree)
    ]
    assert not faults, "\n".join(faults)


def test_variables_of_the_library_and_the_command_say_what_they_hold() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path, tree in parsed(rf"\b({'|'.join(VAGUE)})\b")
        for line, name in vague_names(tree)
    ]
    assert not faults, "\n".join(faults)


def test_a_vague_local_is_found_and_a_field_is_not() -> None:
    source = "class Check:\n    found: str\n\ndef check(made):\n    said = made"
    assert vague_names(ast.parse(source)) == {(4, "made"), (5, "said")}


@pytest.mark.parametrize(
    "source",
    [
        'raise UsageError("The value is wrong")',
        'raise errors.RunError(f"there is no run {name}.", hint="advrec runs lists them")',
        'raise DataError("no column", path=path, hint="Name it.")',
        'message = f"A column has {count} values"',
        'raise ConfigError("eps is 0, " + what + " needs noise.")',
    ],
)
def test_a_message_in_another_register_is_found(source: str) -> None:
    assert faults_of_register(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        'raise UsageError(f"unknown noise {noise!r}: choose adversarial or random")',
        'raise DataError("AUC has no cut-off, got a file …", hint="write \'a …\' or .npz")',
    ],
)
def test_a_message_in_the_register_is_not_a_fault(source: str) -> None:
    assert not faults_of_register(ast.parse(source))
