"""Kills, full disks, broken streams, calls that the system refuses: nothing is lost, all is said.

A sample of what `make drill` does in the long form (tests/drill), with the same functions.
"""

from __future__ import annotations

import random
import shutil
import sys
import threading
import time

import pytest
from support.faults import (
    Shop,
    after,
    broken_streams,
    full_disks,
    kills,
    refusals,
)
from support.faults_of_commands import refused_commands
from support.forked import Refuse, Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, /proc and LD_PRELOAD")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    with Server(cache) as server:
        yield Shop(server, cache / "shop", models=("mf", "lightgcn", "vbpr"))


@pytest.fixture
def refusing(shop):
    if not shop.server.refuses:
        pytest.skip("no C compiler for the library that refuses calls")
    return shop


def test_a_checkpoint_that_cannot_be_written_says_how_to_resume(refusing):
    refusing.reference("mf")
    run = refusing.folder / "hint" / "r"
    refuse = Refuse("rename", 12, 28, str(run.parent))
    ended = refusing.run("mf", run, refuse=refuse)
    assert ended.code == 3
    assert "cannot be written: No space left on device" in ended.err
    assert f"hint: advrec pretrain --resume {run} resumes at the last checkpoint" in ended.err
    assert after(refusing, "mf", run, ended) is None


def test_a_stream_that_fails_never_ends_a_training(shop):
    kinds = [("full", "pipe"), ("gone", "gone"), ("pipe", "full"), ("closed", "closed")]
    assert broken_streams(shop, kinds=kinds) == []


def test_what_was_not_trained_does_not_hide_behind_a_stream(shop):
    ended = shop.server.run("pretrain", "--data", "nowhere", out="gone", err="gone")
    assert ended.code == 3
    assert shop.server.run("models", out="closed").code == 3
    assert shop.server.run("--help", out="full").code == 3
    assert shop.server.run("--version", out="gone").code == 0


def test_a_full_disk_loses_nothing(shop):
    shop.reference("mf")
    size = (shop.folder / "reference" / "mf" / "model.safetensors").stat().st_size
    assert full_disks(shop, limits=[5, size - 1]) == []


def test_refused_calls_are_sentences_and_lose_nothing(refusing):
    calls = ("open", "write", "rename", "fsync")
    count, complaints = refusals(refusing, "mf", calls, random.Random(0), most=10)
    assert complaints == []
    assert count == 10


def test_refused_calls_of_the_other_commands_are_sentences(refusing):
    names, calls = ("attack", "convert"), ("open", "write", "thread")
    count, complaints = refused_commands(refusing, random.Random(0), 6, names, calls)
    assert complaints == []
    assert count == 6


@pytest.mark.parametrize(
    ("call", "number", "sentence"),
    [
        ("fork", 11, "refused: resource temporarily unavailable"),
        ("thread", 11, "refused: no thread could be started"),
    ],
)
def test_a_study_that_may_start_nothing_says_so(refusing, tmp_path, call, number, sentence):
    words = ["study", refusing.folder / "study.toml", "--out", tmp_path / "out", "--threads", 2]
    ended = refusing.server.run(*words, "-q", refuse=Refuse(call, 1, number, "", lasting=True))
    assert ended.code == 3
    assert sentence in ended.err
    assert "Ctrl-C" not in ended.err


def test_a_training_that_is_killed_resumes_to_the_same_bits(shop):
    trainings, complaints = kills(shop, 5, seed=0)
    assert complaints == []
    assert trainings >= 2


def test_drafts_of_killed_processes_are_removed_by_the_next_training(refusing):
    run = refusing.folder / "drafts" / "r"
    refusing.reference("mf")
    run.parent.mkdir()
    (run.parent / ".r.999999999.new").mkdir()
    (run.parent / ".r.999999999.new" / "config.toml").touch()
    (run.parent / ".other.999999999.new").mkdir()
    assert refusing.run("mf", run).code == 0
    assert sorted(path.name for path in run.parent.iterdir()) == [".other.999999999.new", "r"]


def test_what_a_killed_writer_left_goes_with_the_next_commit(shop):
    shop.reference("mf")
    run = shop.folder / "left" / "r"
    shutil.copytree(shop.folder / "reference" / "mf", run)
    for name in ("state.json", "state.safetensors.next", "model.safetensors", "config.toml"):
        (run / f".{name}.0123abcd.tmp").write_bytes(b"a part")
    more = shop.run("mf", run, "--epochs", shop.epochs + 1)
    assert more.code == 0, more.err
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_a_run_folder_that_vanishes_is_a_sentence(shop):
    run = shop.folder / "vanishing" / "r"
    words = [*shop.commands["mf"], "--name", "r", "--runs-dir", run.parent, "--epochs", 100_000]
    ends = []
    training = threading.Thread(target=lambda: ends.append(shop.server.run(*words)))
    training.start()
    while not run.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    run.rename(run.with_name("elsewhere"))
    training.join(60)
    (ended,) = ends
    assert ended.code == 3, ended
    assert "cannot be written: No such file or directory" in ended.err
    assert after(shop, "mf", run.parent / "r2", None) is None  # a name that is free


@pytest.mark.parametrize("seconds", [-1e9, 1e9])
def test_a_clock_that_jumps_changes_nothing(shop, seconds):
    shop.reference("mf")
    run = shop.folder / f"clock{seconds:+}" / "r"
    ended = shop.run("mf", run, clock=seconds)
    assert ended.code == 0, ended.err
    assert after(shop, "mf", run, ended) is None
    assert shop.server.run("runs", "--runs-dir", run.parent, clock=-seconds).code == 0
