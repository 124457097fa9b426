"""A run that was stopped and resumed equals one that never stopped, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.training_data import FAST, tiny_dataset, without_validation

import advrec
from advrec import native
from advrec.errors import ConfigError, Interrupted, RunError, UsageError
from advrec.training.composable import ComposableStepper

DATASET = tiny_dataset()
COMPILED = pytest.mark.skipif(not native.core(), reason="the compiled core is missing")


@pytest.fixture(autouse=True)
def step_by_step(monkeypatch):
    """The fused tier does a tiny epoch in one call; one step a call can be stopped anywhere."""
    from advrec.training import fused

    monkeypatch.setattr(fused.FusedStepper, "grain", 1)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no test here pulls the plug


class Crash(BaseException):
    """As if the process had gone: nothing catches it, nothing is saved after it."""


def crash_at(number):
    """An `on_event` that raises Crash at progress event `number`, from 0."""
    left = number

    def on_event(event):
        nonlocal left
        if event.kind == "progress":
            left -= 1
            if left < 0:
                raise Crash

    return on_event


def train(path, dataset=DATASET, *, model="mf", adversarial=True, on_event=None, **options):
    values = {**FAST, "model": model, "out": path, "checkpoint_seconds": 0, **options}
    values |= {} if on_event is None else {"on_event": on_event}
    if not adversarial:
        return advrec.pretrain(dataset, **values).run
    return advrec.adv_train(dataset, "scratch", eps=0.3, **values).run


def contents(run):
    """All that must be equal; of a line of metrics.jsonl, everything but its time."""
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    files = [(run.path / name).read_bytes() for name in ("model.safetensors", "state.safetensors")]
    metrics = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    progress = vars(run.progress)
    times = ("seconds", "epoch_seconds", "updated", "peak_bytes", "metrics_bytes")
    return files, metrics, {k: v for k, v in progress.items() if k not in times}


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
@pytest.mark.parametrize(
    ("kernels", "optimizer"),
    [
        pytest.param("native", "adam", marks=COMPILED),
        pytest.param("native", "adagrad", marks=COMPILED),
        ("reference", "adam"),
    ],
)
def test_a_crash_at_any_step_leaves_no_trace(tmp_path, model, kernels, optimizer):
    epochs = {"epochs": 2, "eval_every": 1} if kernels == "reference" else {}
    options = {"model": model, "kernels": kernels, "optimizer": optimizer, **epochs}
    straight = train(tmp_path / "straight", **options)
    steps = straight.progress.epoch * 5
    places = range(0, steps, 4) if kernels == "reference" else range(0, steps, 3)
    for place in places:
        path = tmp_path / str(place)
        with pytest.raises(Crash):
            train(path, on_event=crash_at(place), **options)
        assert contents(advrec.resume(path, DATASET).run) == contents(straight)


@pytest.mark.parametrize("checkpoint_seconds", [0, 1000])
def test_many_crashes_leave_no_trace_however_rare_the_checkpoints(tmp_path, checkpoint_seconds):
    straight = train(tmp_path / "straight")
    options = {"checkpoint_seconds": checkpoint_seconds}
    with pytest.raises(Crash):
        train(tmp_path / "crashed", on_event=crash_at(7), **options)
    for _ in range(3):
        with pytest.raises(Crash):
            advrec.resume(tmp_path / "crashed", DATASET, on_event=crash_at(3))
    assert contents(advrec.resume(tmp_path / "crashed", DATASET).run) == contents(straight)


def test_a_run_that_starts_from_another_resumes_without_it(tmp_path):
    base = train(tmp_path / "base", adversarial=False)
    straight = advrec.adv_train(DATASET, base, out=tmp_path / "straight", epochs=3).run
    for place in (0, 6):
        with pytest.raises(Crash):
            advrec.adv_train(
                DATASET, base, out=tmp_path / str(place), epochs=3, on_event=crash_at(place)
            )
    base.path.rename(tmp_path / "elsewhere")
    for place in (0, 6):
        assert contents(advrec.resume(tmp_path / str(place), DATASET).run) == contents(straight)


def test_a_run_without_validation_resumes_too(tmp_path):
    dataset = without_validation(DATASET)
    straight = train(tmp_path / "straight", dataset)
    with pytest.raises(Crash):
        train(tmp_path / "crashed", dataset, on_event=crash_at(8))
    assert contents(advrec.resume(tmp_path / "crashed", dataset).run) == contents(straight)


def test_early_stopping_counts_on_across_a_crash(tmp_path):
    options = {"epochs": 60, "eval_every": 1, "patience": 3, "lr": 0.5}
    straight = train(tmp_path / "straight", **options)
    assert straight.progress.stopped == "patience"
    place = (straight.progress.epoch - 1) * 5 + 1
    with pytest.raises(Crash):
        train(tmp_path / "crashed", on_event=crash_at(place), **options)
    assert advrec.Run.open(tmp_path / "crashed").progress.stale == 2
    assert contents(advrec.resume(tmp_path / "crashed", DATASET).run) == contents(straight)


def test_ctrl_c_and_resume_leave_no_trace(tmp_path):
    def press(event):
        if event.kind == "progress" and (event.epoch, event.step) == (2, 3):
            signal.raise_signal(signal.SIGINT)

    straight = train(tmp_path / "straight")
    with pytest.raises(Interrupted) as error:
        train(tmp_path / "stopped", on_event=press)
    assert f"advrec adv-train --resume {tmp_path / 'stopped'}" == error.value.hint
    run = advrec.Run.open(tmp_path / "stopped")
    assert (run.progress.epoch, run.progress.step) == (1, 3)
    assert contents(advrec.resume(run, DATASET).run) == contents(straight)


SCRIPT = """
import os, signal, sys
from pathlib import Path
import advrec
from advrec.training import fused
from support.training_data import FAST, tiny_dataset
fused.FusedStepper.grain = 1
path, kill_at, model = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
count = 0
def on_event(event):
    global count
    count += event.kind == "progress"
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
options = dict(FAST, epochs=12, checkpoint_seconds=0, patience=0)
if path.exists():
    advrec.resume(path, tiny_dataset(), on_event=on_event)
else:
    advrec.adv_train(
        tiny_dataset(), "scratch", model=model, eps=0.3, out=path, on_event=on_event, **options
    )
"""


def start(path, kill_at, model):
    places = [str(Path(advrec.__file__).parent.parent), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path), str(kill_at), model],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        stdout=subprocess.PIPE,
    )


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_process_killed_in_the_middle_of_an_epoch_resumes_to_the_same_bits(tmp_path, model):
    options = {"epochs": 12, "patience": 0, "model": model}
    straight = train(tmp_path / "straight", checkpoint_seconds=1000, **options)
    with start(tmp_path / "killed", 33, model) as process:
        assert process.wait() == -signal.SIGKILL
    run = advrec.Run.open(tmp_path / "killed")
    assert (run.progress.epoch, run.progress.step) == (6, 2)
    resumed = advrec.resume(run, DATASET, checkpoint_seconds=1000).run
    assert contents(resumed) == contents(straight)


def test_a_process_killed_at_a_random_moment_resumes_to_the_same_bits(tmp_path):
    straight = train(tmp_path / "straight", epochs=12, patience=0, checkpoint_seconds=1000)
    path = tmp_path / "killed"
    with start(path, -1, "mf") as process:
        assert process.stdout.readline() == b"ready\n"
        while not path.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.Random(time.time_ns()).uniform(0, 0.3))  # any moment will do
        process.kill()
    if not advrec.Run.open(path).progress.finished:
        advrec.resume(path, DATASET, checkpoint_seconds=1000)
    assert contents(advrec.Run.open(path)) == contents(straight)


def test_two_processes_cannot_train_one_run(tmp_path):
    def second(event):
        if event.kind == "progress":
            with pytest.raises(RunError, match="is being trained by process"):
                advrec.resume(tmp_path / "one", DATASET)
            raise Crash

    with pytest.raises(Crash):
        train(tmp_path / "one", on_event=second)


# --- what may change on the way ------------------------------------------------------------------


def test_a_finished_run_goes_on_for_more_epochs(tmp_path):
    short, straight = train(tmp_path / "short"), train(tmp_path / "straight", epochs=6)
    with pytest.raises(RunError, match="is finished: it has 4 epochs") as error:
        advrec.resume(short, DATASET)
    assert "--epochs" in str(error.value.hint)
    longer = advrec.resume(tmp_path / "short", DATASET, epochs=6).run
    assert contents(longer) == contents(straight)
    assert advrec.Run.open(longer.path).config.epochs == 6


def test_a_run_that_ran_out_of_patience_goes_on_with_more(tmp_path):
    options = {"epochs": 40, "eval_every": 1, "lr": 0.5}
    run = train(tmp_path / "one", patience=2, **options)
    assert run.progress.stopped == "patience"
    with pytest.raises(RunError, match="had not improved in 2 validations") as error:
        advrec.resume(run, DATASET)
    assert "--patience" in str(error.value.hint)
    straight = train(tmp_path / "straight", patience=0, **options)
    assert contents(advrec.resume(run.path, DATASET, patience=0).run) == contents(straight)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"lr": 0.1}, UsageError, "lr cannot change when a run is resumed"),
        ({"epochs": 2}, RunError, "has 4 epochs, and epochs is 2"),
        ({"epochs": 0}, ConfigError, "at least 1"),
        ({"epochs": 9, "device": "cuda:99"}, ConfigError, "cuda:99"),
    ],
)
def test_changes_that_cannot_be_are_refused_and_the_run_is_left_alone(
    tmp_path, changes, kind, message
):
    run = train(tmp_path / "one")
    before = contents(run)
    with pytest.raises(kind, match=message):
        advrec.resume(run, DATASET, **changes)
    assert contents(advrec.Run.open(run.path)) == before
    advrec.resume(run.path, DATASET, epochs=5)  # it was not left locked


@COMPILED
def test_a_run_may_change_tier_and_stays_close(tmp_path):
    """The tiers differ by rounding: after 20 steps by some ulps of float32, grown by training."""
    straight = train(tmp_path / "straight", kernels="native")
    with pytest.raises(Crash):
        train(tmp_path / "crashed", kernels="reference", on_event=crash_at(10))
    run = advrec.resume(tmp_path / "crashed", DATASET, kernels="native").run
    pair = [found.state()[0]["embedding"] for found in (straight, run)]
    torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-4)
    assert not torch.equal(*pair)


def test_other_data_are_refused(tmp_path):
    with pytest.raises(Crash):
        train(tmp_path / "one", on_event=crash_at(3))
    with pytest.raises(RunError, match="was made from 'tiny' with data"):
        advrec.resume(tmp_path / "one", tiny_dataset(seed=1))


def test_a_damaged_checkpoint_is_refused(tmp_path):
    with pytest.raises(Crash):
        train(tmp_path / "one", on_event=crash_at(3))
    state = tmp_path / "one" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 64
    state.write_bytes(content)
    with pytest.raises(RunError, match=r"state\.safetensors is damaged"):
        advrec.resume(tmp_path / "one", DATASET)


def test_an_interrupted_composable_training_keeps_its_own_tier(tmp_path, monkeypatch):
    """Kernels "reference" is saved with the run: resuming does not quietly take the fused one."""
    seen = []
    real = ComposableStepper.run
    monkeypatch.setattr(
        ComposableStepper, "run", lambda self, *a: (seen.append(a), real(self, *a))[1]
    )
    with pytest.raises(Crash):
        train(tmp_path / "one", kernels="reference", epochs=1, on_event=crash_at(2))
    seen.clear()
    advrec.resume(tmp_path / "one", DATASET)
    assert seen
