"""A child: the kernels of a command and nothing else, timed one by one.

`python -m bench.kernels_only pretrain MODEL FOLDER EPOCHS`, or `… eval MODEL FOLDER 0`: the data is
read and laid out first, then only compiled calls are timed: all steps, and one ranking.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from advrec.data import load_dataset
from advrec.evaluation.scorer import ByVectors, merged_rows, rows_of
from advrec.ops.positives import Positives
from advrec.runs.model import build_model
from advrec.training.tiers import make_stepper
from bench import child, threads
from bench.ours import configured

K = 20


def main() -> None:
    what, name, folder, epochs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    threads.use(threads.from_environment())
    dataset = load_dataset(folder)
    config = configured(model=name)
    model = build_model(config, dataset, "cpu")
    stepper = make_stepper(model, Positives.from_pairs(dataset.train), config)
    part = dataset.valid if what == "pretrain" else dataset.test
    users = np.flatnonzero(part.user_degrees())
    hidden = [dataset.train] if what == "pretrain" else [dataset.train, dataset.valid]
    mask, wanted = merged_rows(hidden, users), rows_of(part, users)

    started = time.perf_counter()
    for epoch in range(epochs):
        for first in range(0, stepper.total_steps, stepper.grain):
            stepper.run(epoch, first, min(stepper.grain, stepper.total_steps - first))
    steps = time.perf_counter() - started

    started = time.perf_counter()
    vectors = model.vectors()
    assert vectors is not None
    tables = (table.detach().contiguous() for table in vectors)
    ByVectors(*tables).rank(users, mask, wanted, K)
    ranking = time.perf_counter() - started
    child.report({"steps": steps, "ranking": ranking, "seconds": steps + ranking})


if __name__ == "__main__":
    main()
