from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest
import torch
from training_data import tiny_dataset, without_validation

import advrec
from advrec import launch, native, train
from advrec.build import build_model
from advrec.config import TrainConfig, resolve
from advrec.errors import ConfigError, Interrupted, RunError, TrainingError, UsageError
from advrec.models import MODELS, ModelSpec, Recommender, Site
from advrec.models.base import check_noise
from advrec.sampling import Positives
from advrec.stepper import ComposableStepper
from advrec.train import make_stepper

DATASET = tiny_dataset()
POSITIVES = Positives.from_pairs(DATASET.train)
TIERS = [
    "reference",
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
    ),
]
FAST = {"dim": 8, "batch_size": 64, "epochs": 4, "eval_every": 2}
"""Options with which a training takes some milliseconds."""


def config_of(model="mf", **options):
    return resolve(
        TrainConfig(model=model, **{"dim": 8, "batch_size": 64, **options}), MODELS[model]
    )


def stepper_of(config, kind=ComposableStepper):
    model = build_model(config, DATASET, "cpu")
    return model, kind(model, POSITIVES, config)


def bits(run):
    return (run.path / "model.safetensors").read_bytes(), (
        run.path / "state.safetensors"
    ).read_bytes()


# --- steps ---------------------------------------------------------------------------------------

TORCH = {
    "sgd": lambda params, lr: torch.optim.SGD(params, lr),
    "adagrad": lambda params, lr: torch.optim.Adagrad(params, lr, initial_accumulator_value=0.1),
    "adam": lambda params, lr: torch.optim.Adam(params, lr),
}


@pytest.mark.parametrize("optimizer", sorted(TORCH))
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_step_is_autograds_gradient_and_torchs_optimiser(optimizer, reduction):
    """In float64 the two differ by the order of a few additions: 1e-12 is some thousand ulps."""
    options = {"precision": "float64", "optimizer": optimizer, "reduction": reduction, "reg": 0.01}
    config = config_of(**options)
    model, stepper = stepper_of(config)
    twin = build_model(config, DATASET, "cpu")
    optimiser = TORCH[optimizer](twin.parameters(), config.lr)
    total = 0.0
    for step in range(stepper.total_steps):
        users, items, negatives = stepper._batch(0, step).long()
        table = twin.embedding
        rows = [table[users], table[items + DATASET.n_users], table[negatives + DATASET.n_users]]
        margins = (rows[0] * rows[1]).sum(1) - (rows[0] * rows[2]).sum(1)
        losses = torch.nn.functional.softplus(-margins)
        total += float(losses.detach().sum())
        penalty = 0.01 * sum(row.square().sum() for row in rows) / 2
        loss = losses.sum() + penalty
        optimiser.zero_grad()
        (loss if reduction == "sum" else loss / len(users)).backward()
        optimiser.step()
    stats = stepper.run(0, 0, stepper.total_steps)
    torch.testing.assert_close(model.embedding, twin.embedding, rtol=1e-12, atol=1e-12)
    assert stats.loss == pytest.approx(total, rel=1e-12)
    assert stats.triplets == len(POSITIVES)


def test_sparse_adam_leaves_rows_outside_the_batch_alone():
    model, stepper = stepper_of(config_of(optimizer="sparse_adam", batch_size=4))
    stepper.run(0, 0, 3)
    before = model.embedding.detach().clone()
    batch = stepper._batch(0, 3)
    stepper.run(0, 3, 1)
    moved = (model.embedding != before).any(1).nonzero().flatten().tolist()
    rows = {*batch[0].tolist(), *(batch[1:] + DATASET.n_users).flatten().tolist()}
    assert set(moved) == rows


def test_an_epoch_has_every_pair_once_and_a_small_last_batch():
    _, stepper = stepper_of(config_of(batch_size=100))
    assert stepper.total_steps == 4
    batches = [stepper._batch(5, step) for step in range(4)]
    assert [batch.shape[1] for batch in batches] == [100, 100, 100, 20]
    pairs = torch.cat(batches, 1)[:2].T.tolist()
    assert len({tuple(pair) for pair in pairs}) == len(pairs) == len(DATASET.train)


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("optimizer", ["adagrad", "sgd", "adam"])
def test_the_state_of_a_stepper_is_all_of_it(kernels, optimizer):
    config = config_of(optimizer=optimizer, kernels=kernels)
    with launch._settings(config):
        (one, first), (two, second) = (
            stepper_of(config, make_stepper),
            stepper_of(config, make_stepper),
        )
        first.run(0, 0, 3)
        with torch.no_grad():
            two.embedding.copy_(one.embedding)
        second.load_state(first.state())
        for stepper in (first, second):
            stepper.run(0, 3, 2)
    assert torch.equal(one.embedding, two.embedding)
    assert int(second.state()["steps"]) == 5
    with pytest.raises(RunError, match="state"):
        second.load_state({**first.state(), "state3": torch.zeros(1)})


@pytest.mark.skipif(not native.core(), reason="the compiled core is missing")
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_run_can_change_tier_because_both_have_the_same_state(model):
    config = config_of(model)
    _, composable = stepper_of(config)
    _, fused = stepper_of(config, make_stepper)
    assert type(fused).__name__ == "FusedStepper"
    fused.load_state(composable.state())
    composable.load_state(fused.state())
    shapes = [{k: v.shape for k, v in s.state().items()} for s in (composable, fused)]
    assert shapes[0] == shapes[1]


class Popular(Recommender):
    """Scores items by a weight, whoever asks: a model of users with two parameters."""

    name = "popular"
    about = "for tests"
    sites = (Site("item", "the weights", ("row",)),)
    defaults = {"optimizer": "adam", "batch_size": 16}  # noqa: RUF012
    batch_kind = "users"

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.item = torch.nn.Parameter(torch.zeros(spec.n_items, 1))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def losses(self, batch, noise=None):
        noise = check_noise(noise, ("item",))
        weights = self.item + noise["item"] if "item" in noise else self.item
        return (weights.sum() + self.bias - 1).square().expand(batch.shape[1])

    def penalty(self, batch):
        return self.item.square().sum()

    def tables(self, site):
        return {"item": self.item.detach()}

    def scores(self, users, noise=None):
        return self.item.T.expand(len(users), -1) + self.bias


def test_a_model_of_users_sees_every_user_once_an_epoch(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "popular", Popular)
    model, stepper = stepper_of(config_of("popular", batch_size=16))
    assert stepper.total_steps == 3
    batches = [stepper._batch(1, step) for step in range(3)]
    assert sorted(torch.cat(batches, 1)[0].tolist()) == list(range(DATASET.n_users))
    assert set(stepper.state()) == {
        "steps", "item.state1", "item.state2", "bias.state1", "bias.state2",
    }  # fmt: skip
    result = advrec.pretrain(DATASET, "popular", runs=tmp_path, epochs=2)
    again = advrec.resume(result.run, DATASET, epochs=4)
    straight = advrec.pretrain(DATASET, "popular", runs=tmp_path, epochs=4)
    assert bits(again.run)[1] == bits(straight.run)[1]


# --- invariants of adversarial training ----------------------------------------------------------


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_without_weight_adversarial_training_is_the_base_models_to_the_bit(
    tmp_path, model, kernels
):
    options = {**FAST, "epochs": 2, "runs": tmp_path, "kernels": kernels}
    base = advrec.pretrain(DATASET, model, **options)
    robust = advrec.adv_train(DATASET, "scratch", model=model, eps=0.5, adv_weight=0.0, **options)
    assert torch.equal(base.run.state()[0]["embedding"], robust.run.state()[0]["embedding"])
    assert bits(base.run)[1] == bits(robust.run)[1]
    with_weight = advrec.adv_train(DATASET, "scratch", model=model, eps=0.5, **options)
    assert bits(base.run)[1] != bits(with_weight.run)[1]


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_the_adversarial_loss_is_the_clean_one_at_eps_0_and_larger_above(tmp_path, model, kernels):
    options = {**FAST, "epochs": 2, "runs": tmp_path, "kernels": kernels, "model": model}
    for line in advrec.adv_train(DATASET, "scratch", eps=0.0, **options).history:
        # float32 losses of the same rows, added up in two orders: a few of its ulps (6e-8)
        assert line["adv_loss"] == pytest.approx(line["loss"], rel=1e-6)
    for line in advrec.adv_train(DATASET, "scratch", eps=0.1, **options).history:
        assert line["adv_loss"] > line["loss"]


# --- the loop ------------------------------------------------------------------------------------


def test_the_best_epoch_is_the_model_that_is_kept(tmp_path, monkeypatch):
    figures = iter([0.1, 0.3, 0.3, 0.2])  # an equal figure is no better one
    monkeypatch.setattr(train.Training, "_evaluate", lambda self: next(figures))
    long = advrec.pretrain(DATASET, runs=tmp_path, **{**FAST, "epochs": 8})
    assert long.best == (4, 0.3)
    monkeypatch.setattr(train.Training, "_evaluate", lambda self: 1.0)
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
    monkeypatch.setattr(train.Training, "_evaluate", lambda self: next(figures))
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


def test_events_tell_the_course_of_a_training(tmp_path):
    events = []
    advrec.adv_train(DATASET, "scratch", runs=tmp_path, on_event=events.append, **FAST)
    kinds = [event.kind for event in events if event.kind not in ("progress", "checkpoint")]
    epochs = ["epoch", "epoch", "validation"]
    assert kinds == ["started", *epochs, *epochs, "finished"]
    assert events[0].run.config.lr == 0.05
    progress = [event for event in events if event.kind == "progress"]
    assert (progress[-1].epoch, progress[-1].epochs) == (4, 4)
    assert progress[-1].triplets == len(DATASET.train)
    assert progress[-1].rate > 0
    assert progress[-1].eta_seconds == 0
    assert events[-1].adv_loss > events[-1].loss > 0
    assert events[-1].best_value == events[-1].value or events[-1].best_epoch == 2


@pytest.mark.parametrize("kernels", TIERS)
def test_numbers_that_are_none_stop_training_and_keep_the_last_good_checkpoint(tmp_path, kernels):
    options = {"lr": 1e30, "optimizer": "sgd", "runs": tmp_path, "kernels": kernels}
    with pytest.raises(TrainingError, match=r"(loss|weights|scores?).*") as error:
        advrec.pretrain(DATASET, checkpoint_seconds=0, **{**FAST, **options})
    assert "--lr (now 1e+30)" in str(error.value.hint)
    run = advrec.Run.open(tmp_path / "mf-tiny-1")
    assert torch.isfinite(run.state()[0]["embedding"]).all()
    assert torch.isfinite(run.weights()["embedding"]).all()
    assert not run.progress.finished


def test_training_leaves_the_process_as_it_was(tmp_path):
    before = (torch.get_num_threads(), torch.get_rng_state(), native._choice)
    advrec.pretrain(DATASET, runs=tmp_path, threads=1, kernels="reference", **{**FAST, "epochs": 1})
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert native._choice == before[2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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


# --- from pretraining to adversarial training ----------------------------------------------------


def test_adversarial_training_starts_at_the_best_epoch_of_its_parent(tmp_path):
    base = advrec.pretrain(DATASET, "lightgcn", runs=tmp_path, lr=0.01, **FAST)
    events = []
    robust = advrec.adv_train(DATASET, base.run, epochs=2, on_event=events.append)
    assert robust.run.path == tmp_path / "lightgcn-tiny-1-apr"
    assert (robust.run.origin.parent, robust.run.origin.parent_epoch) == (
        str(base.run.path), base.best.epoch,
    )  # fmt: skip
    first = robust.history[0]
    assert first["epoch"] == 0
    assert first["valid"]["NDCG@20"] == base.best.value
    assert str(base.run.path) in events[0].message
    config = robust.run.config
    assert (config.lr, config.dim, config.batch_size, config.epochs) == (0.01, 8, 64, 2)
    assert (config.eps, config.adv_weight) == (0.5, 0.1)


def test_adversarial_training_has_a_fresh_optimiser_and_fresh_triplets(tmp_path, monkeypatch):
    base = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    seen = []

    class Spy(ComposableStepper):
        def run(self, epoch, first_step, steps):
            seen.append((epoch, int(self.state()["steps"])))
            return super().run(epoch, first_step, steps)

    monkeypatch.setattr(train, "make_stepper", Spy)
    monkeypatch.setattr(launch, "make_stepper", Spy)
    robust = advrec.adv_train(DATASET, base, epochs=2).run
    assert seen[0] == (4, 0)
    assert {epoch for epoch, _ in seen} == {4, 5}
    again = advrec.adv_train(DATASET, robust, epochs=1).run
    assert again.origin.epoch_offset == 6


def test_the_newest_finished_pretraining_is_taken_and_named(tmp_path):
    advrec.pretrain(DATASET, runs=tmp_path, **FAST)
    newest = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    advrec.pretrain(tiny_dataset(seed=1), runs=tmp_path, **FAST)
    events = []
    run = advrec.adv_train(DATASET, runs=tmp_path, epochs=1, on_event=events.append).run
    assert run.origin.parent == str(newest.path)
    assert "newest finished pretraining" in events[0].message
    with pytest.raises(RunError, match="was made from 'tiny' with data"):
        advrec.adv_train(tiny_dataset(seed=2), runs=tmp_path)
    with pytest.raises(RunError, match="was made from 'tiny' with data"):
        advrec.adv_train(tiny_dataset(seed=2), newest)


def test_options_that_the_parents_weights_do_not_fit_are_refused(tmp_path):
    base = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    with pytest.raises(ConfigError, match=r"'dim' is 16, but .* has 8"):
        advrec.adv_train(DATASET, base, dim=16)
    with pytest.raises(ConfigError, match="'model'"):
        advrec.adv_train(DATASET, base, model="lightgcn")


def test_adversarial_training_without_a_pretraining_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="no finished pretraining") as error:
        advrec.adv_train(DATASET, runs=tmp_path)
    assert "advrec pretrain" in str(error.value.hint)


# --- the rest of the API on runs -----------------------------------------------------------------


def test_runs_are_evaluated_attacked_asked_and_exported(tmp_path):
    run = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    by_name = advrec.evaluate("mf-tiny-1", DATASET, runs=tmp_path, ks=[5])
    assert by_name.values == advrec.evaluate(run, DATASET, ks=[5]).values
    (result,) = advrec.attack(run, DATASET, eps=[0.5], ks=[5])
    assert result.clean.values == by_name.values
    assert [found.rank for found in advrec.recommend(run, "user 3", 3, dataset=DATASET)] == [
        1,
        2,
        3,
    ]
    assert advrec.export(run, tmp_path / "x.npz", dataset=DATASET).is_file()


def test_a_data_set_in_memory_must_be_passed_along(tmp_path):
    run = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    with pytest.raises(RunError, match="made from a Dataset in memory") as error:
        advrec.evaluate(run)
    assert "pass the data set" in str(error.value.hint)
    with pytest.raises(RunError, match="was made from"):
        advrec.evaluate(run, tiny_dataset(seed=1))


def test_a_data_set_from_files_is_read_again(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, part in (("train", DATASET.train), ("test", DATASET.test)):
        rows = [" ".join(map(str, [u, *part.of(u)])) for u in range(DATASET.n_users)]
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    run = advrec.pretrain("./data", **FAST).run
    assert run.path.resolve() == (tmp_path / "runs" / "mf-data-1").resolve()
    values = advrec.evaluate(run).values
    robust = advrec.adv_train(epochs=1).run
    assert robust.data == run.data
    path = run.path.resolve()
    monkeypatch.chdir(folder)
    assert advrec.evaluate(path).values == values  # from another folder too
    (folder / "train.txt").write_text("0 1 2 3\n1 2 3 4\n2 0 1 5\n")
    with pytest.raises(RunError, match="was made from 'data' with data"):
        advrec.evaluate(path)
    (folder / "train.txt").unlink()
    with pytest.raises(RunError, match="cannot be read again"):
        advrec.evaluate(path)


def test_a_run_holds_every_option_and_version(tmp_path):
    run = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    assert run.config.device == "cpu"
    assert {"advrec", "torch", "python"} <= run.versions.keys()
    assert run.origin.data_digest == DATASET.digest
    metadata = json.loads(_metadata(run.path / "model.safetensors"))
    assert metadata["epoch"] == run.progress.best_epoch
    assert metadata["value"] == run.progress.best_value


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()["advrec"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"lerning_rate": 1},
            ConfigError,
            "Unknown option 'lerning_rate' in the options of pretrain",
        ),
        ({"model": "mff"}, UsageError, "no model 'mff'"),
        ({"device": "cuda:99"}, ConfigError, "'cuda:99', but torch"),
        ({"eps": 0.5}, ConfigError, "pretraining perturbs nothing"),
    ],
)
def test_wrong_options_leave_no_folder_behind(tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        advrec.pretrain(DATASET, runs=tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_importing_advrec_does_not_import_torch():
    import subprocess
    import sys
    from pathlib import Path

    code = "import sys, advrec; advrec.AdvrecError; sys.exit('torch' in sys.modules)"
    home = Path(advrec.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=home, check=False).returncode == 0


def test_functions_stay_functions_after_their_modules_were_imported():
    import advrec.attack
    import advrec.evaluate  # noqa: F401

    assert callable(advrec.attack)
    assert callable(advrec.evaluate)


def test_ctrl_c_finishes_the_steps_saves_and_says_how_to_go_on(tmp_path):
    def press(event):
        if event.kind == "progress" and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="Stopped by SIGINT after 1 of 4 epochs") as error:
        advrec.pretrain(DATASET, runs=tmp_path, on_event=press, **FAST)
    assert error.value.hint == f"advrec pretrain --resume {tmp_path / 'mf-tiny-1'}"
    run = advrec.Run.open(tmp_path / "mf-tiny-1")
    assert (run.progress.epoch, run.progress.finished) == (1, False)
    assert run.progress.step > 0
