"""nvcc, where there is one, compiles every kernel for real cards, and none of them spills.

A kernel spills when it has more live values than registers: they then go through memory, where
the kernel's data already queues. ptxas reports it for each kernel and architecture. The objects are
then linked to the module of operators and loaded, whatever torch is installed: a build of torch
without CUDA lacks one function, which is looked up only when an operator is called.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from cuda_check import OPERATORS
from support import native_programs as programs

from advrec import native
from advrec.native import sources

pytestmark = pytest.mark.slow

ARCHITECTURES = ("80", "90")
HOT = ("row_sum", "score_kernel", "rank_kernel", "apply_kernel", "scatter", "draw_kernel")


def nvcc() -> str:
    path = shutil.which("nvcc")
    if path is None:
        pytest.skip("no nvcc on this machine")
    return path


def compiled(source: Path) -> tuple[Path, str]:
    """The object of one .cu, kept until an input changes, and what ptxas said of its kernels."""
    command = [nvcc(), *sources.nvcc_flags(), "-Xptxas", "-v", "-Xcompiler", "-fPIC"]
    for name in ARCHITECTURES:
        command += ["-gencode", f"arch=compute_{name},code=sm_{name}"]
    newest = ARCHITECTURES[-1]
    command += ["-gencode", f"arch=compute_{newest},code=compute_{newest}"]
    headers = sources.cuda_headers(programs.CSRC)
    folder = programs.FOLDER / f"nvcc-{programs.digest(command, [source, *headers])}"
    target, report = folder / f"{source.stem}.o", folder / f"{source.stem}.ptxas"
    if not report.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command += ["-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]
        assert "warning" not in done.stderr, done.stderr[:4000]
        report.write_text(done.stderr)
    return target, report.read_text()


def all_compiled() -> list[tuple[Path, str]]:
    kernels = [path for path in sources.cuda_sources(programs.CSRC) if path.suffix == ".cu"]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(compiled, kernels))


@pytest.fixture(scope="module")
def kernels() -> dict[str, dict[str, int]]:
    """Spilled bytes and registers of every kernel on every architecture."""
    text = "\n".join(report for _, report in all_compiled())
    usage = {}
    pattern = (
        r"Compiling entry function '(\S+)' for '(\S+)'.*?"
        r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers"
    )
    for name, card, stores, loads, registers in re.findall(pattern, text, flags=re.S):
        usage[f"{name} on {card}"] = {
            "spilled": int(stores) + int(loads),
            "registers": int(registers),
        }
    return usage


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
    # 65,536 registers, 256 threads per block
    assert max(k["registers"] for k in narrow) <= 65536 // (3 * 256)


LOAD = """
import importlib.util, os, sys
import torch
from advrec import native
native.core(required=True)
sys.setdlopenflags(os.RTLD_LAZY)
spec = importlib.util.spec_from_file_location("_C_cuda", sys.argv[1])
importlib.util.module_from_spec(spec)
has = torch._C._dispatch_has_kernel_for_dispatch_key
for name in sys.argv[2:]:
    print(name, has(f"advrec::{name}", "CPU"), has(f"advrec::{name}", "CUDA"))
"""


@pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
def test_the_operators_for_cuda_link_and_load(tmp_path: Path) -> None:
    torch_home = Path(torch.__file__).parent
    include = [torch_home / "include", Path(sysconfig.get_paths()["include"])]
    operators = programs.Unit(
        programs.CSRC / "torch" / "ops_cuda.cpp",
        ["-O1", "-fPIC", "-Wno-unused-parameter", *sources.cuda_flags()],
        [programs.CSRC, *include],
    )
    objects = [programs.compile_unit(operators), *(target for target, _ in all_compiled())]
    link = [
        "-shared",
        *sources.cuda_link_flags(sources.cuda_home()),
        f"-L{torch_home / 'lib'}",
    ]
    libraries = ["-lcudart", "-ltorch_cpu", "-lc10"]
    module = tmp_path / "_C_cuda.abi3.so"
    command = [programs.compiler(), *map(str, objects), *link, *libraries, "-o", str(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]

    runtime = [flag[2:] for flag in link if flag.startswith("-L")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(module), *OPERATORS],
        env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(runtime)},
        cwd=programs.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [f"{name} True True" for name in OPERATORS]
