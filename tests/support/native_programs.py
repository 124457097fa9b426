"""Compiles the C++ test programs for pytest: objects are kept until an input changes.

CMake builds the same programs (tests/CMakeLists.txt); this is for a machine that has only a
compiler.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC, TESTS = ROOT / "csrc", ROOT / "tests"
FOLDER = Path(os.environ.get("ADVREC_TEST_BUILD", ROOT / "build" / "native-tests"))
COMMON = ["-std=c++20", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-pthread"]
CORE = ["-O2", "-ffp-contract=fast", "-fno-math-errno"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1"]


@dataclass(frozen=True)
class Unit:
    """One source and how to compile it. `headers` are the folders whose headers it can include."""

    source: Path
    flags: list[str] = field(default_factory=list)
    include: list[Path] = field(default_factory=list)


def compiler() -> str:
    path = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if path is None:
        pytest.skip("no C++ compiler on this machine")
    return path


def cpu_core() -> list[Unit]:
    return [Unit(path, CORE, [CSRC]) for path in sorted((CSRC / "cpu").glob("*.cpp"))]


def cuda_on_cpu(csrc: Path = CSRC, flags: Sequence[str] = SANITIZE) -> list[Unit]:
    """Every .cu as C++ for the emulator."""
    include = [csrc, TESTS / "emu"]
    return [
        Unit(path, ["-O1", *flags, "-x", "c++"], include)
        for path in sorted((csrc / "cuda").glob("*.cu"))
    ]


def emulator(test: str) -> list[Unit]:
    include = [CSRC, TESTS / "emu"]
    sources = (TESTS / "emu" / "machine.cpp", TESTS / "emu" / test)
    return [Unit(path, ["-O1", *SANITIZE], include) for path in sources]


def link(units: Sequence[Unit], flags: Sequence[str] = SANITIZE) -> Path:
    """The program made of the units; the test fails with the compiler's message."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_unit, units))
    program = FOLDER / digest([str(path) for path in objects], [*flags])
    if not program.exists():
        _run([compiler(), *COMMON, *flags, *map(str, objects), "-o"], program)
    return program


def run(program: Path, *arguments: str, seed: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ADVREC_EMU_SEED": str(seed),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, env=environment
    )


def compile_unit(unit: Unit) -> Path:
    """The object of a unit, compiled unless it is there already."""
    headers = sorted(
        path
        for folder in unit.include
        for pattern in ("*.h", "cuda/*.cuh", "cpu/*.h", "cpu/*.inl")
        for path in folder.glob(pattern)
    )
    headers += sorted((TESTS / "native").glob("*.h"))
    command = [compiler(), *COMMON, *unit.flags, *(f"-I{folder}" for folder in unit.include)]
    target = FOLDER / (
        digest([unit.source.name, *command], [unit.source, *headers]) + f"-{unit.source.stem}.o"
    )
    if not target.exists():
        _run([*command, "-c", str(unit.source), "-o"], target)
    return target


def _run(command: list[str], target: Path) -> None:
    """Run a compiler; the target appears only when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    done = subprocess.run([*command, str(partial)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"
    assert "warning" not in done.stderr, done.stderr[:4000]
    partial.rename(target)


def digest(words: list[str], inputs: Sequence[Path | str]) -> str:
    """A name for the result of a command on the contents of these files."""
    state = hashlib.sha256("\0".join(words).encode())
    for one in inputs:
        state.update(one.read_bytes() if isinstance(one, Path) else one.encode())
    return state.hexdigest()[:20]
