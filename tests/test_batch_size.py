"""A batch that is larger than the data is the whole epoch: the same steps, said, no more memory."""

from __future__ import annotations

import pytest
import torch
from support.training_data import FAST, TIERS, tiny_dataset

import advrec
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.errors import ConfigError
from advrec.models import model_class
from advrec.training.forecast import forecast

DATASET = tiny_dataset()
TRIPLETS = len(DATASET.train)
HUGE = 2**29 - 1


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_batch_larger_than_the_data_makes_the_steps_of_one_as_large_as_it(
    tmp_path, model, kernels
):
    def trained(batch_size: int) -> tuple[torch.Tensor, list[str]]:
        notes: list[str] = []
        result = advrec.pretrain(
            DATASET,
            model,
            runs=tmp_path,
            on_event=lambda event: notes.append(event.message) if event.kind == "note" else None,
            **{**FAST, "batch_size": batch_size, "kernels": kernels},
        )
        return result.run.weights()["embedding"], [note for note in notes if "batch size" in note]

    exact, without_note = trained(TRIPLETS)
    huge, (note,) = trained(HUGE)
    assert torch.equal(exact, huge)
    assert without_note == []
    assert note == (
        f"batch size 536,870,911 is more than the {TRIPLETS} training triplets of an epoch: "
        "one step per epoch"
    )


def test_no_memory_is_foreseen_for_triplets_that_there_are_not(monkeypatch):
    def step(batch_size: int) -> int:
        options = TrainConfig(model="mf", dim=8, batch_size=batch_size)
        config = resolve(options, model_class("mf")).model_copy(update={"device": "cpu"})
        return sum(forecast(config, DATASET).parts.values())

    assert step(HUGE) == step(TRIPLETS)


def test_a_training_whose_batch_does_not_fit_names_the_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVREC_MEMORY", "1M")
    with pytest.raises(ConfigError) as error:
        advrec.pretrain("debian", dim=2048, batch_size=HUGE, runs=tmp_path, optimizer="sgd")
    assert "most of it for the step" in str(error.value)
    assert (error.value.hint or "").startswith("a smaller --batch-size, ")
    with pytest.raises(ConfigError) as error:
        advrec.pretrain("debian", dim=2048, batch_size=64, runs=tmp_path)
    assert "batch-size" not in (error.value.hint or "")


@pytest.mark.parametrize("size", [2**29, 10**30])
def test_a_batch_that_the_core_cannot_count_is_refused_by_its_name(tmp_path, size):
    with pytest.raises(ConfigError, match=f"batch_size .* must be less than 536870912, got {size}"):
        advrec.pretrain(DATASET, runs=tmp_path, batch_size=size)
