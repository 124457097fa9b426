"""nvcc, where there is one, compiles every kernel for real cards, and none of them spills.

A kernel spills when it has more live values than registers: they then go through memory, where
the kernel's data already queues. ptxas reports it for each kernel and architecture.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import native_programs as programs
import pytest

pytestmark = pytest.mark.slow

ARCHITECTURES = ("80", "90")
HOT = ("row_sum", "score_kernel", "rank_kernel", "apply_kernel", "scatter", "draw_kernel")


def nvcc() -> str:
    home = os.environ.get("CUDA_HOME")
    found = shutil.which(f"{home}/bin/nvcc") if home else shutil.which("nvcc")
    if found is None:
        pytest.skip("no nvcc on this machine")
    return found


def compiled(source: Path) -> str:
    """What ptxas says of the kernels of one .cu, kept until an input changes."""
    command = [nvcc(), "-std=c++20", "-O3", "-Xptxas", "-v"]
    for name in ARCHITECTURES:
        command += ["-gencode", f"arch=compute_{name},code=sm_{name}"]
    newest = ARCHITECTURES[-1]
    command += ["-gencode", f"arch=compute_{newest},code=compute_{newest}"]
    headers = [*sorted(source.parent.glob("*.cuh")), *sorted(source.parent.parent.glob("*.h"))]
    folder = programs.FOLDER / f"nvcc-{programs.digest(command, [source, *headers])}"
    report = folder / f"{source.stem}.ptxas"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command += ["-c", str(source), "-o", str(folder / f"{source.stem}.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]
        assert "warning" not in done.stderr, done.stderr[:4000]
        report.write_text(done.stderr)
    return report.read_text()


@pytest.fixture(scope="module")
def kernels() -> dict[str, dict[str, int]]:
    """Spilled bytes and registers of every kernel on every architecture."""
    sources = sorted((programs.CSRC / "cuda").glob("*.cu"))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        text = "\n".join(pool.map(compiled, sources))
    found = {}
    pattern = (
        r"Compiling entry function '(\S+)' for '(\S+)'.*?"
        r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers"
    )
    for name, card, stores, loads, registers in re.findall(pattern, text, flags=re.S):
        found[f"{name} on {card}"] = {
            "spilled": int(stores) + int(loads),
            "registers": int(registers),
        }
    return found


def test_every_kernel_is_compiled_for_every_architecture(
    kernels: dict[str, dict[str, int]],
) -> None:
    for card in ARCHITECTURES:
        here = [name for name in kernels if name.endswith(f"sm_{card}")]
        for hot in HOT:
            assert any(hot in name for name in here), f"{hot} is missing on sm_{card}"


def test_no_kernel_spills(kernels: dict[str, dict[str, int]]) -> None:
    assert {name: k["spilled"] for name, k in kernels.items() if k["spilled"]} == {}


def test_rows_of_up_to_128_values_leave_room_for_three_blocks(
    kernels: dict[str, dict[str, int]],
) -> None:
    narrow = [k for name, k in kernels.items() if "row_sum" in name and "RowShapeILi4ELi1" in name]
    assert narrow
    # 65,536 registers, 256 threads a block
    assert max(k["registers"] for k in narrow) <= 65536 // (3 * 256)
