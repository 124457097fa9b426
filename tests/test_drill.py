"""`make drill` runs every loop that is there, names the seed, and fails if one of them fails."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "drill.py"
LOOP = """
import sys
from pathlib import Path
assert sys.argv[1::2] == ["--count", "--seed"], sys.argv
with Path("ran.txt").open("a") as file:
    print(Path(__file__).stem, sys.argv[2], sys.argv[4], file=file)
sys.exit({code})
"""


@pytest.fixture(scope="module")
def drill():
    return runpy.run_path(str(SCRIPT))["main"]


def checkout(root: Path, **codes: int) -> Path:
    (root / "tests/support").mkdir(parents=True)
    for name, code in codes.items():
        (root / f"tests/support/{name}.py").write_text(LOOP.format(code=code))
    return root


def test_every_loop_is_run_with_its_count_and_seed(drill, tmp_path, capfd):
    root = checkout(tmp_path, fuzz_b=0, fuzz_a=0, drill_c=0, helper=1)
    assert drill(["--count", "7", "--seed", "3"], root) == 0
    assert (root / "ran.txt").read_text() == "drill_c 7 3\nfuzz_a 7 3\nfuzz_b 7 3\n"
    assert "fuzz_a: nothing found" in capfd.readouterr().out


def test_a_loop_that_fails_is_named_with_its_seed_and_the_others_still_run(drill, tmp_path, capfd):
    root = checkout(tmp_path, fuzz_a=1, fuzz_b=0)
    assert drill(["--count", "7"], root) == 1
    name, count, seed = (root / "ran.txt").read_text().split()[:3]
    assert "fuzz_b" in (root / "ran.txt").read_text()
    shown = capfd.readouterr()
    assert "fuzz_a: FAILED, exit 1" in shown.out
    assert f"drill.py --count {count} --seed {seed} {name}" in shown.err


def test_loops_can_be_chosen_and_an_unknown_one_is_refused(drill, tmp_path, capfd):
    root = checkout(tmp_path, fuzz_a=1, fuzz_b=0)
    assert drill(["fuzz_b"], root) == 0
    assert drill(["fuzz_c"], root) == 2
    assert "the loops are fuzz_a, fuzz_b" in capfd.readouterr().err
