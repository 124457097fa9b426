"""Builds `_C` and `_C_cuda` as a first use would, loads both, and looks the operators up.

Run by cuda_check.sh with a CUDA build of torch. The package itself is not imported: its other
dependencies are not needed to compile.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
OPERATORS = (
    "sample_triplets",
    "propagate",
    "triplet_margin",
    "triplet_margin_backward",
    "normalize_rows",
    "optimizer_step",
    "rank_topk",
    "rank_scores",
    "mf_steps",
    "lightgcn_steps",
)


def native_build() -> ModuleType:
    path = ROOT / "advrec" / "native" / "sources.py"
    spec = importlib.util.spec_from_file_location("sources", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    import torch

    if torch.version.cuda is None:
        print(f"cuda-check: torch {torch.__version__} is not a CUDA build", file=sys.stderr)
        return 1
    build, csrc = native_build(), ROOT / "csrc"
    toolkit = build.cuda_home()
    os.environ["CUDA_HOME"] = str(toolkit)  # read when cpp_extension is imported
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
    import ninja
    from torch.utils import cpp_extension

    os.environ["PATH"] = ninja.BIN_DIR + os.pathsep + os.environ["PATH"]
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, nvcc in {toolkit}")
    modules = {
        "_C": (build.core_sources(csrc), build.core_flags(), [], build.link_flags()),
        "_C_cuda": (
            build.cuda_sources(csrc),
            build.cuda_flags(),
            build.nvcc_flags(),
            build.cuda_link_flags(toolkit),
        ),
    }
    for name, (sources, flags, nvcc, link) in modules.items():
        folder = Path(os.environ["ADVREC_CACHE"]) / name
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        module = cpp_extension.load(
            name=name,
            sources=[str(path) for path in sources],
            extra_cflags=flags,
            extra_cuda_cflags=nvcc,
            extra_ldflags=link,
            build_directory=str(folder),
            with_cuda=bool(nvcc),
        )
        print(f"{name}: {module.__file__}, {time.perf_counter() - begin:.0f} s")
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    missing = [
        f"{name} on {key}"
        for name in OPERATORS
        for key in ("CPU", "CUDA")
        if not has(f"advrec::{name}", key)
    ]
    print(f"{len(OPERATORS)} operators, on CPU and CUDA; missing: {', '.join(missing) or 'none'}")
    if torch.cuda.is_available():
        x = torch.randn(5, 7, device="cuda")
        rows = torch.ops.advrec.normalize_rows(x, 2.0)
        print(f"and one has run on {torch.cuda.get_device_name()}: {rows.norm(dim=1).tolist()}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
