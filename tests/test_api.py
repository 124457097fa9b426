"""What `import advrec` offers: adversarial training from a run, and everything else on runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from safetensors import safe_open
from support.training_data import FAST, tiny_dataset

import advrec
from advrec.config.train import TrainConfig
from advrec.errors import AdvrecError, ConfigError, RunError, UsageError
from advrec.runs.run import Run
from advrec.training import launch
from advrec.training.composable import ComposableStepper

DATASET = tiny_dataset()


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


def test_options_are_checked_once_and_resolved_once(tmp_path, monkeypatch):
    checked = []
    validate = BaseModel.model_validate.__func__

    def counting(kind, *args, **more):
        if kind.__name__.endswith("Config"):
            checked.append(kind.__name__)
        return validate(kind, *args, **more)

    monkeypatch.setattr(BaseModel, "model_validate", classmethod(counting))
    base = advrec.pretrain(DATASET, runs=tmp_path, **FAST)
    assert checked == ["TrainConfig", "ResolvedConfig"]
    checked.clear()
    advrec.adv_train(DATASET, base.run, epochs=1)
    assert checked == ["TrainConfig", "ResolvedConfig"]
    assert Run.open(base.run.path).config == base.run.config
    assert Run.open(base.run.path).origin == base.run.origin


def test_a_configuration_stands_in_place_of_single_options(tmp_path):
    config = TrainConfig(model="lightgcn", **FAST)
    one = advrec.pretrain(DATASET, runs=tmp_path, config=config).run
    other = advrec.pretrain(DATASET, "lightgcn", runs=tmp_path, **FAST).run
    assert one.config == other.config
    with pytest.raises(UsageError, match="config and the single options dim exclude each other"):
        advrec.pretrain(DATASET, runs=tmp_path, config=config, dim=8)


def test_options_that_the_parents_weights_do_not_fit_are_refused(tmp_path):
    base = advrec.pretrain(DATASET, runs=tmp_path, **FAST).run
    with pytest.raises(ConfigError, match=r"dim is 16, but .* has 8"):
        advrec.adv_train(DATASET, base, dim=16)
    with pytest.raises(ConfigError, match=r"model is 'lightgcn', but .* has 'mf'"):
        advrec.adv_train(DATASET, base, model="lightgcn")


def test_adversarial_training_without_a_pretraining_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="no finished pretraining") as error:
        advrec.adv_train(DATASET, runs=tmp_path)
    assert "advrec pretrain" in str(error.value.hint)


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
    assert advrec.evaluate(run, "./data").values == values  # named, as for pretrain
    assert advrec.attack(run, "./data", eps=[0.5])[0].clean.values == values
    with pytest.raises(AdvrecError, match="no-such"):
        advrec.evaluate(run, "./no-such")
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
    with safe_open(run.path / "model.safetensors", "pt") as file:
        metadata = json.loads(file.metadata()["advrec"])
    assert metadata["epoch"] == run.progress.best_epoch
    assert metadata["value"] == run.progress.best_value


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"lerning_rate": 1},
            ConfigError,
            "unknown option 'lerning_rate' in the options of pretrain",
        ),
        ({"model": "mff"}, UsageError, "unknown model 'mff'"),
        ({"device": "cuda:99"}, ConfigError, "'cuda:99' is unavailable: torch"),
        ({"eps": 0.5}, ConfigError, "pretraining has no perturbation"),
    ],
)
def test_wrong_options_leave_no_folder_behind(tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        advrec.pretrain(DATASET, runs=tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_importing_advrec_does_not_import_torch():
    code = "import sys, advrec; advrec.AdvrecError; sys.exit('torch' in sys.modules)"
    home = Path(advrec.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=home, check=False).returncode == 0


def test_dir_shows_the_public_names_and_no_others():
    assert dir(advrec) == sorted([*advrec.__all__, "__version__"])
    assert all(getattr(advrec, name) is not None for name in dir(advrec))


def test_no_public_name_is_that_of_a_module():
    """Importing `advrec.NAME` would put the module where the function was."""
    home = Path(advrec.__file__).parent
    assert not {path.stem for path in home.iterdir()} & set(advrec.__all__)
