"""A process that has trained on several threads forks, and the child trains to the same bits."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, multiprocessing, sys, tempfile, warnings
sys.path.insert(0, {support!r})
import advrec
from support.training_data import bits, tiny_dataset, without_validation

DATASET = without_validation(tiny_dataset(users=3000, items=200))

def train(model, to=None):
    with tempfile.TemporaryDirectory() as runs, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trained = [
            advrec.pretrain(DATASET, model, runs=runs, out=f"{{runs}}/{{n}}", epochs=1, dim=16,
                            batch_size=8192, threads=2)
            for n in range(2)
        ]
        digest = hashlib.sha256(b"".join(bits(trained[-1].run))).hexdigest()
    answer = digest, sum("forked" in str(one.message) for one in said)
    return answer if to is None else to.put(answer)

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    own = [train(model) for model in {models}]
    for model, (digest, said) in zip({models}, own):
        assert said == 0
        answers = fork.Queue()
        child = fork.Process(target=train, args=(model, answers))
        child.start()
        assert answers.get(timeout=30) == (digest, 1), model
        child.join(30)
        assert child.exitcode == 0
    assert [train(model) for model in {models}] == own  # the parent goes on as before
"""


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
def test_a_forked_child_trains_to_the_same_bits():
    script = SCRIPT.format(support=str(Path(__file__).parent), models=["mf", "cdae", "lightgcn"])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
