"""What a training computes does not depend on the number of threads, whatever the model."""

from __future__ import annotations

import pytest
from support.training_data import bits, tiny_dataset, without_validation

import advrec
from advrec.models import MODELS

OWN = [name for name, model in MODELS.items() if not model.needs_features]


@pytest.mark.parametrize("name", OWN)
def test_one_and_two_threads_give_the_same_bits(name, tmp_path):
    """40,000 pairs: torch splits work of 32,768 numbers or more. Validation would change no bit."""
    dataset = without_validation(tiny_dataset(users=5000, items=300))
    options = {"runs": tmp_path, "epochs": 1, "dim": 8, "batch_size": 8192, "model": name}
    one, two = (
        advrec.adv_train(dataset, "scratch", threads=threads, **options) for threads in (1, 2)
    )
    assert bits(one.run) == bits(two.run)
