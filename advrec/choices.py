"""The words that an option can have, each list once: for types, checks, help and error messages.

Plain strings, so that the command line can list them without importing numpy or torch. Dispatch
tables elsewhere (`training.tiers`, `robustness.perturb`, `data.load`) must cover these lists; tests
compare them.
"""

from __future__ import annotations

from typing import Literal, get_args

Phase = Literal["pretrain", "adversarial"]
Optimizer = Literal["adagrad", "sgd", "adam", "sparse_adam"]
Sampling = Literal["pairs", "users"]
Reduction = Literal["sum", "mean"]
Norm = Literal["row", "sample", "joint", "tensor"]
Side = Literal["both", "users", "items"]
Noise = Literal["random", "adversarial"]
Labels = Literal["train", "self", "test"]
Kernels = Literal["auto", "native", "reference"]
Precision = Literal["float32", "float64", "bf16"]
Part = Literal["test", "valid"]
Split = Literal["auto", "given", "random", "loo-time", "loo-random", "global-time"]
Validation = Literal["auto", "none"]
Header = Literal["yes", "no"]
Target = Literal["lightgcn", "csv", "recbole"]
Control = Literal["continued", "restarted"]

PHASES: tuple[str, ...] = get_args(Phase)
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)
SAMPLINGS: tuple[str, ...] = get_args(Sampling)
REDUCTIONS: tuple[str, ...] = get_args(Reduction)
NORMS: tuple[str, ...] = get_args(Norm)
SIDES: tuple[str, ...] = get_args(Side)
SAMPLE_NORMS: tuple[str, ...] = ("sample",)  # of the vectors of a batch, not of whole tables
NOISES: tuple[str, ...] = get_args(Noise)
PRACTICAL_NOISES: tuple[str, ...] = (
    "int8",
    "int4",
    "bf16",
    "float16",
    "staleness",
    "dropout-rows",
    "gaussian-dp",
)
STALE_SIDES: tuple[str, ...] = ("users", "items")
LABELS: tuple[str, ...] = get_args(Labels)
KERNELS: tuple[str, ...] = get_args(Kernels)
PRECISIONS: tuple[str, ...] = get_args(Precision)
PARTS: tuple[str, ...] = get_args(Part)
SPLITS: tuple[str, ...] = get_args(Split)
VALIDATIONS: tuple[str, ...] = get_args(Validation)
HEADERS: tuple[str, ...] = get_args(Header)
TARGETS: tuple[str, ...] = get_args(Target)
CONTROLS: tuple[str, ...] = get_args(Control)
