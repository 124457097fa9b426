"""The CUDA kernels, run on the CPU emulator of tests/emu and compared with the CPU core."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import native_programs as programs

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 5], ids=["in order", "shuffled"])
def test_every_kernel_agrees_with_the_cpu_core(seed: int) -> None:
    units = [*programs.cpu_core(), *programs.cuda_on_cpu(), *programs.emulator("test_kernels.cpp")]
    done = programs.run(programs.link(units), seed=seed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout


def test_whole_steps_agree_with_the_cpu_core_in_any_order_of_threads() -> None:
    units = [*programs.cpu_core(), *programs.cuda_on_cpu(), *programs.emulator("test_steps.cpp")]
    done = programs.run(programs.link(units), seed=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout


def test_the_emulator_runs_right_kernels_and_catches_wrong_ones() -> None:
    done = programs.run(programs.link(programs.emulator("test_emulator.cpp")))
    assert done.returncode == 0, done.stdout + done.stderr


FAULTS = {
    # name: file, right text, wrong text, file to compile again, test that must fail, its message
    "missing barrier in the scatter": (
        "sort.cu",
        "    }\n  }\n  __syncthreads();\n  for (int k = 0; k < kSortItems && first",
        "    }\n  }\n  for (int k = 0; k < kSortItems && first",
        "sort.cu",
        "sort_is",
        "",
    ),
    "missing barrier behind a shared row": (
        "row_sum.cuh",
        "sum.write(partial[lanes.warp], lanes, dim);\n    __syncthreads();",
        "sum.write(partial[lanes.warp], lanes, dim);",
        "propagate.cu",
        "propagate_over_odd",
        "times the tolerance",
    ),
    "one term too many": (
        "propagate.cuh",
        "return {graph.indptr[r], graph.indptr[r + 1]};",
        "return {graph.indptr[r], graph.indptr[r + 1] + 1};",
        "propagate.cu",
        "propagate_over_odd",
        "heap-buffer-overflow",
    ),
    "an item of the next tile": (
        "rank.cu",
        "lists.items[at + lane] < first_item + n;",
        "lists.items[at + lane] <= first_item + n;",
        "rank.cu",
        "rank_breaks",
        "",
    ),
    "a shuffle that some lanes leave out": (
        "triplet.cu",
        "sum = group_sum(sum, width);\n  if (lanes.column == 0",
        "if (inside) sum = group_sum(sum, width);\n  if (lanes.column == 0",
        "triplet.cu",
        "outside_their_table",
        "is stuck",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_put_into_a_kernel_is_caught(name: str, tmp_path: Path) -> None:
    file, right, wrong, compiled, test, words = FAULTS[name]
    csrc = tmp_path / "csrc"
    shutil.copytree(programs.CSRC, csrc, ignore=shutil.ignore_patterns("cpu"))
    changed = csrc / "cuda" / file
    source = changed.read_text()
    assert source.count(right) == 1, f"{file} has changed: put the fault elsewhere"
    changed.write_text(source.replace(right, wrong))

    sanitize = programs.SANITIZE if words == "heap-buffer-overflow" else ()
    sound = [unit for unit in programs.cuda_on_cpu() if unit.source.name != compiled]
    faulty = [unit for unit in programs.cuda_on_cpu(csrc, sanitize) if unit.source.name == compiled]
    units = [*programs.cpu_core(), *sound, *faulty, *programs.emulator("test_kernels.cpp")]
    done = programs.run(programs.link(units), test, seed=1)
    assert done.returncode != 0, f"nothing was noticed:\n{done.stdout}"
    assert words in done.stdout + done.stderr
