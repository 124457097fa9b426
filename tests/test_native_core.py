"""The C++ tests of the CPU core (tests/native), compiled with the sanitizers and without."""

from __future__ import annotations

import pytest
from support import native_programs as programs

pytestmark = pytest.mark.slow

SANITIZERS = {"plain": [], "address and undefined behaviour": programs.SANITIZE}


@pytest.mark.parametrize("name", SANITIZERS)
def test_the_core_without_torch(name: str) -> None:
    flags = SANITIZERS[name]
    test = programs.Unit(
        programs.TESTS / "native" / "test_core.cpp", ["-O1", *flags], [programs.CSRC]
    )
    core = [
        programs.Unit(unit.source, [*unit.flags, *(["-O1", *flags] if flags else [])], unit.include)
        for unit in programs.cpu_core()
    ]
    done = programs.run(programs.link([*core, test], flags))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
