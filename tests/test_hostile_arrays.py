"""Operators from Python with hostile arrays: refused, never a crash or a hang."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.training_data import tiny_dataset

from advrec import native, ops
from advrec.ops.graph import Graph
from advrec.ops.positives import Positives

PAIRS = tiny_dataset().train
GRAPH, POSITIVES = Graph.build(PAIRS), Positives.from_pairs(PAIRS)


def changed(tensor, place, value):
    other = tensor.clone()
    other[place] = value
    return other


@pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
def test_every_operator_survives_damaged_arguments():
    program = Path(__file__).parent / "support" / "fuzz_operators.py"
    words = [sys.executable, str(program), "--count", "550", "--seed", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": changed(GRAPH.indices, 0, 70)}, r"indices must be in \[0, 70\), got 70"),
        ({"indptr": changed(GRAPH.indptr, 3, 10**9)}, "never descend"),
        ({"indptr": GRAPH.indptr[:-1]}, "indptr must have 71 entries, got 70"),
        ({"scale": GRAPH.scale.to("meta")}, "scale must be on cpu, got meta"),
        ({"n_users": 2**62}, "n_users must be from 0 to 2147483647"),
    ],
)
def test_a_graph_that_kernels_could_not_follow_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(GRAPH, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": changed(POSITIVES.items, 0, -1)}, r"items must be in \[0, 30\), got -1"),
        ({"items": POSITIVES.items.flip(0)}, "items must ascend"),
        ({"indptr": changed(POSITIVES.indptr, -1, 5)}, "end at"),
        ({"active_users": changed(POSITIVES.active_users, 0, 40)}, "active_users must be in"),
        ({"pair_users": POSITIVES.pair_users[1:]}, "as many as pair_users"),
        ({"n_items": 8}, "must be in"),
    ],
)
def test_positives_that_the_sampler_could_not_follow_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(POSITIVES, **changes)


def test_a_structure_carries_its_proof_to_another_precision_or_device(monkeypatch):
    monkeypatch.setattr("advrec.ops.proof.offsets", None)  # would raise if it were called
    assert GRAPH.to(dtype=torch.float64).scale.dtype == torch.float64
    assert len(POSITIVES.to("cpu")) == len(POSITIVES)


@pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
@pytest.mark.parametrize("layers", [-1, 1001, 2**32, 2**62])
def test_layers_without_end_are_refused(layers):
    with pytest.raises(ValueError, match="layers must be at"):
        ops.propagate(torch.ones(GRAPH.n_nodes, 2), GRAPH, layers)


@pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
@pytest.mark.parametrize("numbers", [{"first": 2**62}, {"count": 2**63 - 1}, {"negatives": 2**40}])
def test_counts_near_the_end_of_64_bits_do_not_wrap(numbers):
    asked = {"seed": 1, "epoch": 0, "first": 1, "count": 4} | numbers
    with pytest.raises(ValueError, match="must"):
        ops.sample_triplets(POSITIVES, **asked)
