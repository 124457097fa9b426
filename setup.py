"""Build the compiled modules if torch is installed; everything else is in pyproject.toml."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("sources", ROOT / "advrec" / "native" / "sources.py")
sources = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sources)


def why_not() -> str | None:
    """Why nothing can be compiled now, or None; the core is then built on first use."""
    if os.environ.get("ADVREC_BUILD") == "0":
        return "ADVREC_BUILD=0"
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed in the environment that builds"
    if importlib.util.find_spec("pybind11") is None:
        return "pybind11 is not installed in the environment that builds"
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        return "no C++ compiler found"
    return None


def cuda_extensions() -> list[object]:
    """The CUDA core, if torch is a CUDA build and nvcc is there; ADVREC_CUDA=0 leaves it out."""
    import torch

    home = sources.cuda_home()
    if torch.version.cuda is None or home is None or os.environ.get("ADVREC_CUDA") == "0":
        return []
    os.environ["CUDA_HOME"] = home
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
    from torch.utils import cpp_extension

    cpp_extension.CUDA_HOME = home  # read at import, too early

    def relative(paths: list[Path]) -> list[str]:
        return [str(path.relative_to(ROOT)) for path in paths]

    csrc = ROOT / "csrc"
    return [
        cpp_extension.CUDAExtension(
            "advrec._C_cuda",
            relative(sources.cuda_sources(csrc)),
            depends=relative(sources.cuda_headers(csrc)),
            extra_compile_args={
                "cxx": sources.cuda_flags(),
                "nvcc": sources.nvcc_flags(),
            },
            extra_link_args=sources.cuda_link_flags(home),
            py_limited_api=True,
        )
    ]


def extensions() -> dict[str, object]:
    reason = why_not()
    if reason:
        print(f"advrec: the core will be compiled on first use: {reason}", file=sys.stderr)
        return {}
    import pybind11
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    def relative(paths: list[Path]) -> list[str]:
        return [str(path.relative_to(ROOT)) for path in paths]

    csrc = ROOT / "csrc"
    core = CppExtension(
        "advrec._C",
        relative(sources.core_sources(csrc)),
        depends=relative(sources.core_headers(csrc)),
        extra_compile_args={"cxx": sources.core_flags()},
        extra_link_args=sources.link_flags(),
        py_limited_api=True,
    )
    modules = [core]
    if (csrc / "text" / "reader.cpp").is_file():
        modules.append(
            CppExtension(
                "advrec._host",
                ["csrc/text/reader.cpp"],
                depends=relative(sources.host_headers(csrc)),
                include_dirs=[pybind11.get_include()],
                extra_compile_args={"cxx": sources.host_flags()},
                extra_link_args=sources.link_flags(),
            )
        )
    modules += cuda_extensions()
    return {
        "ext_modules": modules,
        "cmdclass": {"build_ext": BuildExtension.with_options(use_ninja=True)},
    }


# The folders cli/ and csrc/ are installed under other names: see package-dir in pyproject.toml.
OTHER_PACKAGES = [
    "advrec_cli",
    "advrec_cli.commands",
    "advrec_csrc",
    "advrec_csrc.cpu",
    "advrec_csrc.cuda",
    "advrec_csrc.text",
    "advrec_csrc.torch",
]

setup(packages=[*find_packages(include=["advrec", "advrec.*"]), *OTHER_PACKAGES], **extensions())
