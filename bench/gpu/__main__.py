"""`python -m bench.gpu`: times the CUDA core and plain PyTorch in turn, and writes bench/GPU.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

REPORT = Path(__file__).resolve().parent.parent / "GPU.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--data", help="a folder (default: Gowalla if it is here, or its likeness)")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7, help="times that everything is measured")
    parser.add_argument("--out", type=Path, default=REPORT)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench.gpu: torch sees no CUDA device, so there is nothing to measure")
        return 1

    from bench.gpu.bench_gpu import measure

    text = measure(options.data, options.dim, options.rounds)
    options.out.write_text(text)
    print(text)
    print(f"written to {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
