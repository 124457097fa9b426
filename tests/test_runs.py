from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training_data import tiny_dataset

import advrec
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.errors import RunError, UsageError
from advrec.models import MODELS
from advrec.runs import commits, find
from advrec.runs.records import Origin
from advrec.runs.run import Run, features_digest
from advrec.system import files, locks
from advrec.system.locks import RunLock

DATASET = tiny_dataset()
CONFIG = resolve(TrainConfig(model="mf", dim=2), MODELS["mf"])
ORIGIN = Origin("tiny", DATASET.digest, created="2026-01-01T00:00:00+00:00")
FILES = ["config.toml", "ids.json", "model.safetensors", "state.safetensors", "state.json"]


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"embedding": torch.full((3, 2), value)}


def optimizer(value: float) -> dict[str, torch.Tensor]:
    return {"steps": torch.tensor(int(value)), "state1": torch.full((3, 2), value)}


def make(path: Path, config=CONFIG, origin=ORIGIN, **changes) -> Run:
    content = {
        "config": config,
        "origin": origin,
        "dataset": DATASET,
        "data": {"data": "debian", "min_rating": None},
        "versions": {"advrec": "9"},
        "weights": tensors(0.0),
        "optimizer": optimizer(0.0),
    }
    return Run.create(path, **{**content, **changes})


@pytest.fixture
def run(tmp_path):
    made = make(tmp_path / "one")
    yield made
    made.release()


def checkpoint(run: Run, number: int) -> None:
    """A checkpoint whose every part says `number`."""
    run.progress.epoch = run.progress.best_epoch = number
    run.log({"epoch": number})
    run.save(tensors(number), optimizer(number), tensors(number + 0.5))


def number_in(run: Run) -> int:
    """Which checkpoint the folder holds; an assertion fails if its parts are of several."""
    number = run.progress.epoch
    weights, state = run.state()
    for tensor, value in (
        (weights["embedding"], number),
        (state["state1"], number),
        (state["steps"], number),
        (run.weights()["embedding"], number + 0.5 if number else 0),
    ):
        assert (tensor == value).all()
    assert [line["epoch"] for line in run.history()] == list(range(1, number + 1))
    return number


def test_what_was_put_in_comes_out(run):
    checkpoint(run, 1)
    again = Run.open(run.path)
    assert (again.config, again.origin, again.name) == (CONFIG, ORIGIN, "one")
    assert again.ids() == (list(DATASET.user_ids), list(DATASET.item_ids))
    assert again.data == {"data": "debian"}  # TOML has no None
    assert again.versions == {"advrec": "9"}
    assert number_in(again) == 1
    assert again.summary()["best_epoch"] == 1


def test_the_folder_holds_what_the_documentation_says(run):
    assert {path.name for path in run.path.iterdir()} == {*FILES, "metrics.jsonl", "lock"}


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    contents = []
    for name in ("one", "two"):
        make(tmp_path / name).release()
        names = ("model.safetensors", "state.safetensors")
        contents.append([(tmp_path / name / file).read_bytes() for file in names])
    assert contents[0] == contents[1]


def test_a_folder_that_is_there_is_refused(run, tmp_path):
    with pytest.raises(RunError, match="already exists") as error:
        make(run.path)
    assert "--resume" in str(error.value.hint)
    assert "--name" in str(error.value.hint)
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty").release()


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    left, real = 0, files.write

    def write(path, content):
        nonlocal left
        left -= 1
        if left == 0:
            raise RunError("disk full")
        real(path, content)

    monkeypatch.setattr(files, "write", write)
    for number in range(1, 7):
        left = number
        with pytest.raises(RunError, match="disk full"):
            make(tmp_path / "one")
        assert list(tmp_path.iterdir()) == []
    left = 7
    make(tmp_path / "one").release()  # so there are six writes, and each was made to fail


def test_a_run_killed_at_any_operation_of_a_checkpoint_has_the_last_one_or_this_one(
    tmp_path, monkeypatch
):
    class Killed(BaseException):
        """Nothing in advrec catches it."""

    operations, die_at = 0, 0

    def dying(real):
        def operation(*arguments, **rest):
            nonlocal operations
            operations += 1
            if operations == die_at:
                raise Killed
            return real(*arguments, **rest)

        return operation

    for owner, name in ((Path, "replace"), (Path, "open"), (os, "fsync"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    seen = set()
    for trial in range(1, 100):
        die_at = 0
        run = make(tmp_path / str(trial))
        checkpoint(run, 1)
        operations, die_at = 0, trial
        try:
            checkpoint(run, 2)
            break
        except Killed:
            die_at = 0
        run.release()
        found = number_in(Run.open(run.path))  # a reader, who changes nothing
        trainer = Run.open(run.path)
        trainer.lock()
        assert number_in(trainer) == found
        assert not [path for path in run.path.iterdir() if path.name.endswith((".next", "tmp"))]
        checkpoint(trainer, found + 1)
        assert number_in(Run.open(run.path)) == found + 1
        trainer.release()
        seen.add(found)
    assert trial > 10
    assert seen == {1, 2}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "empty", "swapped"])
def test_a_damaged_file_is_an_error_that_names_it(run, name, damage):
    checkpoint(run, 1)
    path = run.path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-5])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "swapped":
        path.write_bytes(pickle.dumps({"a": 1}))
    else:
        for place in np.linspace(0, len(content) - 1, 9).astype(int):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(RunError, match=name.replace(".", r"\.")):
                read_everything(run.path)
        return
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        read_everything(run.path)


def read_everything(path: Path) -> None:
    run = Run.open(path)
    run.ids(), run.weights(), run.state()


def test_a_pickle_in_the_place_of_tensors_is_never_loaded(run, monkeypatch):
    """Even when the digests were made to fit, only safetensors are read."""

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    content = pickle.dumps(Trap())
    folder = commits.CommitFolder(run.path)
    folder.commit({"model.safetensors": content, "state.safetensors": content}, folder.body)
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        Run.open(run.path).weights()
    with pytest.raises(RunError, match=r"state\.safetensors is damaged"):
        Run.open(run.path).state()


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no run folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"not a run folder: it has no state\.json"):
        Run.open(tmp_path)


def test_a_run_of_another_version_is_refused_with_its_version(run):
    text = (run.path / "config.toml").read_text().replace("dim = 2", "dim = 2\nwidth = 3")
    folder = commits.CommitFolder(run.path)
    folder.commit({"config.toml": text.encode()}, folder.body)
    with pytest.raises(RunError, match=r"written by advrec 9.*'width'"):
        Run.open(run.path)
    folder.commit({}, {**folder.body, "novelty": 1})
    with pytest.raises(RunError, match=r"another version.*novelty"):
        Run.open(run.path)


def test_lines_after_the_last_checkpoint_are_cut_off_when_training_goes_on(run):
    checkpoint(run, 1)
    run.log({"epoch": 2})
    run.release()
    again = Run.open(run.path)
    assert [line["epoch"] for line in again.history()] == [1]
    again.lock()
    assert (run.path / "metrics.jsonl").read_text() == json.dumps({"epoch": 1}) + "\n"
    again.release()


def test_metrics_shorter_than_the_checkpoint_says_are_damage(run):
    checkpoint(run, 1)
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged"):
        run.lock()


def test_figures_that_are_no_number_never_get_into_the_metrics(run):
    with pytest.raises(ValueError, match="JSON"):
        run.log({"loss": float("nan")})


def test_a_run_being_trained_is_locked(run):
    with pytest.raises(RunError, match=rf"being trained by process {os.getpid()} on "):
        Run.open(run.path).lock()
    assert Run.open(run.path).weights()  # reading is free
    run.release()
    with RunLock(run.path):
        pass


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path):
    home = Path(advrec.__file__).parent.parent
    code = (
        "import sys, time; from pathlib import Path; from advrec.system.locks import RunLock\n"
        "lock = RunLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(home)},
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"process {holder.pid}"):
            RunLock(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with RunLock(tmp_path):
        pass


def test_without_fcntl_the_file_itself_is_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    lock = RunLock(tmp_path)
    with pytest.raises(RunError, match="being trained") as error:
        RunLock(tmp_path)
    assert "delete" in str(error.value.hint)
    lock.release()
    lock.release()
    with RunLock(tmp_path):
        pass


def test_other_data_are_refused_and_both_digests_named(run):
    run.check_data(DATASET)
    other = tiny_dataset(seed=1)
    with pytest.raises(RunError) as error:
        run.check_data(other)
    assert DATASET.digest[:12] in str(error.value)
    assert other.digest[:12] in str(error.value)


def test_other_item_features_are_refused_by_a_model_that_reads_them(tmp_path):
    features = np.ones((DATASET.n_items, 3), np.float32)
    dataset = replace(DATASET, item_features=features)
    origin = replace(ORIGIN, features_digest=features_digest(dataset))
    run = make(tmp_path / "one", origin=origin)
    run.check_data(dataset)
    for other in (DATASET, replace(DATASET, item_features=features + 1)):
        with pytest.raises(RunError, match="item features"):
            run.check_data(other)


def finished(path: Path, *, phase="pretrain", stopped="epochs", origin=ORIGIN, at=0.0) -> None:
    run = make(path, config=resolve(TrainConfig(model="mf", phase=phase), MODELS["mf"]))
    run.release()
    folder = commits.CommitFolder(path)
    text = (path / "config.toml").read_text().replace(ORIGIN.data_digest, origin.data_digest)
    body = {**folder.body, "stopped": stopped, "updated": at}
    folder.commit({"config.toml": text.encode()}, body)


def test_the_newest_finished_pretraining_of_the_data_is_found(tmp_path):
    other = Origin("other", "f" * 64)
    finished(tmp_path / "old", at=1)
    finished(tmp_path / "new", at=2)
    finished(tmp_path / "unfinished", at=3, stopped=None)
    finished(tmp_path / "robust", at=4, phase="adversarial")
    finished(tmp_path / "other", at=5, origin=other)
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "file").touch()
    assert [run.name for run in find.all_runs(tmp_path)] == [
        "other", "robust", "unfinished", "new", "old",
    ]  # fmt: skip
    assert find.newest_pretraining(tmp_path).name == "other"
    assert find.newest_pretraining(tmp_path, data_digest=DATASET.digest).name == "new"
    with pytest.raises(RunError) as error:
        find.newest_pretraining(tmp_path, data_digest="0" * 64)
    assert "f" * 12 in str(error.value)
    assert "0" * 12 in str(error.value)
    with pytest.raises(RunError, match="no finished pretraining of 'lightgcn'"):
        find.newest_pretraining(tmp_path, model="lightgcn")
    with pytest.raises(RunError, match="no finished pretraining in"):
        find.newest_pretraining(tmp_path / "none")


def test_runs_are_found_by_path_or_name_and_the_nearest_is_hinted_at(run):
    root = run.path.parent
    assert find.find(run.path).name == "one"
    assert find.find("one", root).name == "one"
    with pytest.raises(RunError, match="no run onne") as error:
        find.find("onne", root)
    assert error.value.hint == "did you mean 'one'?"


def test_a_run_named_like_a_folder_here_is_found(run, monkeypatch):
    root = run.path.parent
    monkeypatch.chdir(root)
    Path("here").mkdir()
    Path("here/ratings.csv").touch()
    (root / "runs").mkdir()
    (root / "one").rename(root / "runs" / "here")
    assert find.find("here", "runs").path == Path("runs/here")
    with pytest.raises(RunError, match=r"here"):  # without that run, the folder is looked into
        find.find("here", "elsewhere")
    (root / "runs" / "here").rename(root / "two")
    (root / "runs" / "two").mkdir()
    assert find.find("two", "runs").path == Path("two")  # a path to a run stays what it is


def test_new_runs_get_the_next_free_name(tmp_path):
    def name(**options):
        path = find.new_path(tmp_path, **{"model": "mf", "dataset": "tiny", **options})
        path.mkdir()
        return path.name

    assert [name(adversarial=False) for _ in range(2)] == ["mf-tiny-1", "mf-tiny-2"]
    assert name(adversarial=True) == "mf-tiny-apr-1"
    parents = [name(adversarial=True, parent="mf-tiny-1") for _ in range(2)]
    assert parents == ["mf-tiny-1-apr", "mf-tiny-1-apr-2"]
    assert name(adversarial=False, dataset="../my data/ü") == "mf-my-data-1"


@pytest.mark.parametrize("name", ["../x", ".x", "a/b", "", "-x", "a b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="run name"):
        find.named_path(tmp_path, name)
    assert find.named_path(tmp_path, "a.b-c_1") == tmp_path / "a.b-c_1"
