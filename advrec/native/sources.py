"""What the compiled core is built from: for `setup.py` and for building on first use.

Imports nothing but the standard library, because `setup.py` runs it before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

TORCH_TARGET = "0x020a000000000000"
"""The oldest torch whose stable ABI the operators are built against: 2.10."""


def source_dir(package: Path) -> Path | None:
    """The folder csrc/: next to the package in a checkout, advrec_csrc in a wheel."""
    for candidate in (package.parent / "csrc", package.parent / "advrec_csrc"):
        if (candidate / "kernels.h").is_file():
            return candidate
    return None


def core_sources(csrc: Path) -> list[Path]:
    """The sources of the module `_C`: operators and CPU kernels."""
    return [csrc / "torch" / "ops_cpu.cpp", *sorted((csrc / "cpu").glob("*.cpp"))]


def core_headers(csrc: Path) -> list[Path]:
    """What those include; a change in them requires a new build."""
    headers = [*csrc.glob("*.h"), *(csrc / "torch").glob("*.h")]
    return sorted([*headers, *(csrc / "cpu").glob("*.h"), *(csrc / "cpu").glob("*.inl")])


def core_flags() -> list[str]:
    """Compiler flags of the module `_C`.

    `-ffp-contract=fast` lets products and sums fuse, in every kernel alike; nothing that could
    reorder a sum is allowed. The instruction set is chosen at run time, never by `-march`.
    """
    return [
        *host_flags(),
        "-ffp-contract=fast",
        "-fno-math-errno",
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        "-DPy_LIMITED_API=0x030A0000",
    ]


def host_flags() -> list[str]:
    """Compiler flags of the module `_host`, which does not use torch."""
    flags = ["-std=c++20", "-O3", "-Wall", "-Wextra"]
    if os.environ.get("ADVREC_DEBUG"):
        flags += ["-g", "-fno-omit-frame-pointer"]
    return flags


def link_flags() -> list[str]:
    """Linker flags of both modules."""
    return [] if sys.platform == "darwin" else ["-pthread"]


def host_headers(csrc: Path) -> list[Path]:
    """What text/reader.cpp, the module `_host`, includes."""
    return sorted((csrc / "text").glob("*.h"))


def cuda_sources(csrc: Path) -> list[Path]:
    """The sources of the module `_C_cuda`: the same operators for CUDA tensors."""
    return [csrc / "torch" / "ops_cuda.cpp", *sorted((csrc / "cuda").glob("*.cu"))]


def cuda_headers(csrc: Path) -> list[Path]:
    """What those include."""
    headers = [*csrc.glob("*.h"), *(csrc / "torch").glob("*.h")]
    return sorted([*headers, *(csrc / "cuda").glob("*.cuh")])


def cuda_flags() -> list[str]:
    """Compiler flags of ops_cuda.cpp. USE_CUDA declares torch's access to the current stream."""
    return [
        *host_flags(),
        "-DUSE_CUDA",
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        "-DPy_LIMITED_API=0x030A0000",
    ]


def nvcc_flags() -> list[str]:
    """Flags of the .cu files, which do not use torch; architectures are TORCH_CUDA_ARCH_LIST's."""
    return ["-std=c++20", "-O3"]


def cuda_home() -> str | None:
    """The CUDA toolkit: CUDA_HOME, or where nvcc is, once symbolic links to it are resolved."""
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if home and (Path(home) / "bin" / "nvcc").is_file():
            return home
    nvcc = shutil.which("nvcc")
    return str(Path(nvcc).resolve().parent.parent) if nvcc else None


def cuda_link_flags(home: str | None) -> list[str]:
    """Linker flags of `_C_cuda`. Toolkits keep the runtime in lib64 or lib; torch looks in one."""
    folders = [Path(home or "/usr/local/cuda") / name for name in ("lib64", "lib")]
    existing = [folder for folder in folders if (folder / "libcudart.so").exists()]
    return [*link_flags(), *(f"-L{folder}" for folder in existing)]
