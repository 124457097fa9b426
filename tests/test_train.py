"""The training loop: what it keeps, when it stops, what it tells, and what it leaves alone."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch
from support.training_data import FAST, TIERS, bits, tiny_dataset, without_validation

import advrec
from advrec import native
from advrec.errors import Interrupted, TrainingError
from advrec.training import loop

DATASET = tiny_dataset()


def test_the_best_epoch_is_the_model_that_is_kept(tmp_path, monkeypatch):
    figures = iter([0.1, 0.3, 0.3, 0.2])  # an equal figure is no better one
    monkeypatch.setattr(loop.Training, "_evaluate", lambda self: next(figures))
    long = advrec.pretrain(DATASET, runs=tmp_path, **{**FAST, "epochs": 8})
    assert long.best == (4, 0.3)
    monkeypatch.setattr(loop.Training, "_evaluate", lambda self: 1.0)
    short = advrec.pretrain(DATASET, runs=tmp_path, **FAST, patience=0)
    assert torch.equal(long.run.weights()["embedding"], short.run.state()[0]["embedding"])
    assert torch.equal(long.model.embedding, long.run.weights()["embedding"])
    assert not long.model.training


@pytest.mark.parametrize(
    ("patience", "epochs_done", "stopped"),
    [(1, 6, "patience"), (2, 8, "patience"), (0, 12, "epochs")],
)
def test_training_stops_after_so_many_validations_without_a_better_one(
    tmp_path, monkeypatch, patience, epochs_done, stopped
):
    figures = iter([0.1, 0.3, 0.3, 0.2, 0.1, 0.1])
    monkeypatch.setattr(loop.Training, "_evaluate", lambda self: next(figures))
    run = advrec.pretrain(
        DATASET, runs=tmp_path, **{**FAST, "epochs": 12, "patience": patience}
    ).run
    assert (run.progress.epoch, run.progress.stopped) == (epochs_done, stopped)
    assert run.progress.best_epoch == 4


def test_the_last_epoch_is_validated_even_between_two_dates(tmp_path):
    history = advrec.pretrain(DATASET, runs=tmp_path, **{**FAST, "epochs": 5}).history
    assert [line["epoch"] for line in history if "valid" in line] == [2, 4, 5]
    assert [line["epoch"] for line in history] == [1, 2, 3, 4, 5]


def test_validation_reads_the_validation_part_and_never_the_test_part(tmp_path):
    swapped = replace(DATASET, test=DATASET.train)
    values = [
        advrec.pretrain(data, runs=tmp_path, **FAST).history[-1]["valid"]
        for data in (DATASET, swapped)
    ]
    assert values[0] == values[1]


def test_without_a_validation_part_the_last_epoch_is_kept_and_that_is_said(tmp_path):
    events = []
    result = advrec.pretrain(
        without_validation(DATASET), runs=tmp_path, on_event=events.append, **FAST
    )
    assert result.best == (4, None)
    assert torch.equal(result.run.weights()["embedding"], result.run.state()[0]["embedding"])
    assert any("no validation part" in event.message for event in events if event.kind == "note")


@pytest.mark.parametrize(("eps", "outweighs"), [(1e-3, False), (100.0, True)])
def test_adversarial_training_says_how_large_its_noise_is(tmp_path, eps, outweighs):
    base = advrec.pretrain(DATASET, runs=tmp_path, **FAST)
    notes = []
    advrec.adv_train(DATASET, base.run, eps=eps, on_event=lambda e: notes.append(e.message), **FAST)
    share = eps / float(base.model.embedding.detach().norm(dim=1).mean())
    (said,) = [note for note in notes if note.startswith("noise at ego")]
    assert f"ε {eps:g} is {100 * share:.0f} % of the mean row norm" in said
    assert ("smaller --eps" in said) == outweighs


def test_events_tell_the_course_of_a_training(tmp_path, monkeypatch):
    figures = iter([0.3, 0.2])  # the best figure is not the last one
    monkeypatch.setattr(loop.Training, "_evaluate", lambda self: next(figures))
    events = []
    advrec.adv_train(DATASET, "scratch", runs=tmp_path, on_event=events.append, **FAST)
    kinds = [event.kind for event in events if event.kind not in ("progress", "checkpoint")]
    epochs = ["epoch", "epoch", "validation"]
    assert kinds == ["started", "note", *epochs, *epochs, "finished"]  # the note: on memory
    assert events[0].run.config.lr == 0.05
    progress = [event for event in events if event.kind == "progress"]
    assert (progress[-1].epoch, progress[-1].epochs) == (4, 4)
    assert progress[-1].triplets == len(DATASET.train)
    assert progress[-1].rate > 0
    assert progress[-1].eta_seconds == 0
    assert events[-1].adv_loss > events[-1].loss > 0
    validations = [event for event in events if event.kind in ("validation", "finished")]
    assert [(event.epoch, event.value) for event in validations] == [(2, 0.3), (4, 0.2), (4, 0.2)]
    assert {(event.best_epoch, event.best_value) for event in validations} == {(2, 0.3)}


@pytest.mark.parametrize("kernels", TIERS)
def test_numbers_that_are_none_stop_training_and_keep_the_last_good_checkpoint(tmp_path, kernels):
    options = {"lr": 1e30, "optimizer": "sgd", "runs": tmp_path, "kernels": kernels}
    with pytest.raises(TrainingError, match=r"(loss|weights|scores?).*") as error:
        advrec.pretrain(DATASET, checkpoint_seconds=0, **{**FAST, **options})
    assert error.value.hint == "a lower --lr (now 1e+30)"
    run = advrec.Run.open(tmp_path / "mf-tiny-1")
    assert torch.isfinite(run.state()[0]["embedding"]).all()
    assert torch.isfinite(run.weights()["embedding"]).all()
    assert not run.progress.finished


def test_training_leaves_the_process_as_it_was(tmp_path):
    before = (torch.get_num_threads(), torch.get_rng_state(), native.choice())
    interrupt = signal.getsignal(signal.SIGINT)
    advrec.pretrain(DATASET, runs=tmp_path, kernels="reference", **{**FAST, "epochs": 1})
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert native.choice() == before[2]
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_the_seed_decides_everything_and_the_global_generator_nothing(tmp_path):
    runs = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        runs.append(advrec.pretrain(DATASET, runs=tmp_path, seed=seed, **FAST).run)
    assert bits(runs[0]) == bits(runs[1])
    assert bits(runs[0]) != bits(runs[2])


def test_the_summary_has_time_and_memory(tmp_path):
    summary = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run.summary()
    assert set(summary["seconds"]) == {"train", "evaluate", "checkpoint"}
    assert summary["seconds"]["train"] > 0
    assert summary["peak_bytes"] > 2**20


def test_ctrl_c_finishes_the_steps_saves_and_says_how_to_go_on(tmp_path):
    def press(event):
        if event.kind == "progress" and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped by SIGINT after 1 of 4 epochs") as error:
        advrec.pretrain(DATASET, runs=tmp_path, on_event=press, **FAST)
    assert error.value.hint == f"advrec pretrain --resume {tmp_path / 'mf-tiny-1'}"
    run = advrec.Run.open(tmp_path / "mf-tiny-1")
    assert (run.progress.epoch, run.progress.finished) == (1, False)
    assert run.progress.step > 0
