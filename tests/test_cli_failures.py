"""Nothing that a user can type ends in a traceback; each failure has its sentence and exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_runner import advrec, write_ratings

from advrec.errors import ExitCode, NativeError
from advrec.system.interrupt import Terminated
from advrec_cli import failures


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "sentence", "hint"),
    [
        (
            "pretrain --modle mf",
            2,
            "no such option: --modle",
            "did you mean '--model' or '--name'?",
        ),
        ("pretrian", 2, "no such command 'pretrian'", "did you mean 'pretrain'?"),
        ("zzz", 2, "no such command 'zzz'", "see advrec --help"),
        ("data lst", 2, "no such command 'lst'", "did you mean 'list'?"),
        ("pretrain --model mff", 2, "unknown model 'mff': choose", "did you mean 'mf'?"),
        (
            "pretrain --split randon",
            2,
            "--split must be auto, given, random",
            "did you mean 'random'?",
        ),
        (
            "pretrain --optimizer adamm",
            2,
            "--optimizer must be adagrad, sgd, adam or sparse_adam, got 'adamm'",
            "did you mean 'adam'?",
        ),
        (
            "pretrain --epochs 0",
            2,
            "--epochs must be at least 1, got 0",
            "see advrec pretrain --help",
        ),
        ("pretrain --epochs ten", 2, "--epochs", "see advrec pretrain --help"),
        ("attack --steps 1.5", 2, "--steps", "see advrec attack --help"),
        ("pretrain --lr nan", 2, "--lr", "pretrain --help"),
        ("pretrain --lr users=x", 2, "--lr must be a number, got 'x'", "pretrain --help"),
        ("pretrain --layers 2", 3, "model 'mf' has no layers", "leave it out"),
        (
            "pretrain --device gpu",
            3,
            "device in the options must be auto, cpu, cuda or cuda:N, got 'gpu'",
            "",
        ),
        ("pretrain --name ../up", 2, "run name '../up' must be", ""),
        ("pretrain --option x", 2, "--option must be NAME=VALUE, got 'x'", ""),
        ("pretrain --data nope.csv", 3, "nope.csv: no such file", "advrec data list"),
        ("pretrain --data debain", 3, "debain", "did you mean 'debian'?"),
        ("pretrain --resume nope", 3, "no run nope: neither a path", "advrec runs"),
        ("pretrain --resume a --name b", 2, "--name and --resume", ""),
        ("adv-train", 3, "no finished pretraining", "advrec pretrain"),
        ("adv-train --from nope", 3, "no run nope: neither a path", "advrec runs"),
        ("adv-train --resume a --from b", 2, "--from and --resume", ""),
        ("adv-train --eps -1", 2, "--eps must be at least 0, got -1", "adv-train --help"),
        ("attack", 3, "no finished run in runs", "advrec pretrain"),
        ("attack nope", 3, "no run nope: neither a path", "advrec runs"),
        (
            "attack --noise advers",
            2,
            "dropout-rows or gaussian-dp, got 'advers'",
            "did you mean 'adversarial'?",
        ),
        ("attack --noise random --steps 3", 2, "random noise takes no steps", "adversarial"),
        ("attack --eps 1,a", 2, "--eps must be a number, got 'a'", ""),
        ("attack --eps inf", 2, "must be a finite number, got 'inf'", ""),
        ("attack -k 0", 2, "-k must be at least 1, got 0", ""),
        (
            "attack --norm rows",
            2,
            "--norm must be row, sample, joint or tensor, got 'rows'",
            "did you mean 'row'?",
        ),
        ("eval nope", 3, "no run nope: neither a path", "advrec runs"),
        ("eval --part train", 2, "--part must be test or valid, got 'train'", ""),
        ("eval --config nope.toml", 2, "nope.toml", ""),
        ("compare nope other", 3, "no run nope: neither a path", "advrec runs"),
        ("recommend", 2, "no user to recommend to", "--user ID"),
        ("recommend --user a", 3, "no finished run", "advrec pretrain"),
        ("export nope", 3, "no run nope: neither a path", "advrec runs"),
        ("runs nope", 3, "no run nope: neither a path", "advrec runs"),
        ("data inspect nope", 3, "nope: no such file", "advrec data list"),
        (
            "data convert debian out --to parquet",
            2,
            "--to must be lightgcn, csv or recbole, got 'parquet'",
            "",
        ),
        ("data download nope", 2, "'nope'", "the names are"),
        ("data download debian", 2, "debian is embedded", ""),
    ],
)
def test_a_mistake_gets_one_sentence_a_hint_and_its_exit_code(words, code, sentence, hint):
    outcome = advrec(*words.split())
    assert outcome.code == code
    assert outcome.out == ""
    error = outcome.err[outcome.err.index("error: ") :]
    assert sentence in error
    assert hint in error
    assert "Traceback" not in outcome.err
    assert len(error.splitlines()) <= 2


def test_a_configuration_file_names_its_own_mistakes():
    Path("a.toml").write_text("[train]\nlearning_rate = 1\n")
    outcome = advrec("pretrain", "--config", "a.toml")
    assert outcome.code == ExitCode.DATA
    assert "'learning_rate'" in outcome.err
    assert "did you mean 'lr'?" in outcome.err
    assert "a.toml" in outcome.err
    Path("c.toml").write_text("[data]\ncls = 1\n[train]\nout = 'x'\n")
    for command in ("pretrain", "adv-train"):
        outcome = advrec(command, "--config", "c.toml")
        assert "unknown option 'cls' in c.toml and the flags" in outcome.err
    Path("c.toml").write_text("[train]\nout = 'x'\n")
    assert "unknown option 'out' in c.toml" in advrec("adv-train", "--config", "c.toml").err
    Path("b.toml").write_text("[train\n")
    assert "b.toml is not valid TOML" in advrec("pretrain", "--config", "b.toml").err


def test_options_are_checked_before_the_data_is_read():
    outcome = advrec("pretrain", "--data", "nope.csv", "--device", "gpu")
    assert "device in the options must be auto, cpu" in outcome.err
    assert "nope.csv" not in outcome.err


@pytest.fixture
def broken(monkeypatch):
    """Makes `advrec doctor` raise what it is given."""

    def breaks(error: BaseException) -> None:
        def diagnose() -> None:
            raise error

        monkeypatch.setattr("advrec.native.diagnose", diagnose)

    return breaks


def test_a_defect_is_called_a_bug_and_its_traceback_is_kept_in_a_file(
    broken, monkeypatch, tmp_path
):
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))
    broken(ZeroDivisionError("one by none"))
    outcome = advrec("doctor")
    assert outcome.code == 1
    assert "this is a bug in advrec: ZeroDivisionError: one by none" in outcome.err
    [kept] = tmp_path.glob("advrec-traceback-*.txt")
    assert str(kept) in outcome.err
    assert "Traceback (most recent call last)" in kept.read_text()


def refuse(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["tempfile.mkstemp", "os.fdopen"])
def test_a_defect_whose_traceback_cannot_be_kept_prints_it(broken, monkeypatch, tmp_path, call):
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(f"advrec_cli.failures.{call}", refuse)
    broken(ZeroDivisionError("one by none"))
    outcome = advrec("doctor")
    assert outcome.code == 1
    assert "this is a bug in advrec: ZeroDivisionError: one by none" in outcome.err
    assert "Traceback (most recent call last)" in outcome.err
    assert "hint: the traceback is above" in outcome.err
    assert list(tmp_path.glob("advrec-traceback-*")) == []


@pytest.mark.parametrize(
    ("error", "sentence", "hint"),
    [
        (OSError(28, "No space left on device", "a"), "no space left on device: a", "free some"),
        (OSError(24, "Too many open files"), "too many open files", "ulimit -n"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "resource temp", "ulimit -u"),
        (RuntimeError("can't start new thread"), "no thread could be started", "ulimit -u"),
        (MemoryError("Unable to allocate 3. GiB"), "not enough memory (Unable", "smaller batches"),
        (RuntimeError("[enforce fail] can't allocate memory"), "not enough memory", "smaller"),
        (ImportError("libx.so: cannot open: Too many open files"), "libx.so", "ulimit -n"),
    ],
)
def test_what_the_system_refuses_is_not_a_defect(broken, error, sentence, hint):
    broken(error)
    outcome = advrec("doctor")
    assert outcome.code == ExitCode.DATA
    assert f"error: the operating system refused: {sentence}" in outcome.err
    assert hint in outcome.err
    assert "Traceback" not in outcome.err
    assert "Traceback" in advrec("doctor", "--debug").err


def test_debug_prints_the_traceback(broken):
    broken(ZeroDivisionError("one by none"))
    for words in (["doctor", "--debug"], ["--debug", "doctor"]):
        outcome = advrec(*words)
        assert outcome.code == 1
        assert "Traceback (most recent call last)" in outcome.err
        assert "advrec-traceback" not in outcome.err
    broken(NativeError("no compiler"))
    assert "Traceback" in advrec("doctor", "--debug").err
    assert "Traceback" not in advrec("doctor").err


def test_a_native_error_has_its_own_code_and_points_at_the_doctor(broken):
    broken(NativeError("no compiler"))
    outcome = advrec("doctor")
    assert outcome.code == ExitCode.NATIVE
    assert "advrec doctor" in outcome.err


def test_ctrl_c_is_130_and_no_traceback(broken):
    broken(KeyboardInterrupt())
    outcome = advrec("doctor")
    assert outcome.code == ExitCode.INTERRUPTED
    assert outcome.err.startswith("interrupted: ")


def test_sigterm_is_named_and_no_threads_are_not_ctrl_c(broken, monkeypatch):
    broken(Terminated())
    assert "interrupted: stopped by SIGTERM" in advrec("doctor").err
    broken(KeyboardInterrupt())  # OpenBLAS interrupts its own process
    monkeypatch.setattr("threading.Thread.start", lambda _: refuse_thread())
    outcome = advrec("doctor")
    assert outcome.code == ExitCode.DATA
    assert "error: the operating system refused: no thread could be started" in outcome.err


def refuse_thread() -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("words", [["data", "list"], ["models", "--json"]])
def test_a_reader_that_goes_away_is_no_failure(words):
    code = f"import sys; from advrec_cli.main import main; sys.exit(main({words!r}))"
    shell = f'"{sys.executable}" -c "{code}" | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert "rror" not in done.stderr  # neither ours nor the interpreter's at its exit


def test_ctrl_c_while_training_saves_and_says_how_to_go_on(tmp_path):
    ratings = write_ratings(tmp_path / "ratings.csv")
    code = (
        "import os, signal, advrec_cli.commands.training as training\n"
        "from advrec_cli.main import main\n"
        "class Watcher(training.Watcher):\n"
        "    def __call__(self, event):\n"
        "        super().__call__(event)\n"
        "        if event.kind == 'epoch' and event.epoch == 3:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "import advrec_cli.commands.pretrain as pretrain\n"
        "pretrain.Watcher = Watcher\n"
        f"raise SystemExit(main(['pretrain', '--data', {str(ratings)!r}, '--epochs', '500',"
        " '--dim', '8', '--name', 'stopped', '--patience', '0']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.INTERRUPTED, done.stderr
    assert "interrupted: stopped by SIGINT after 3 of 500 epochs" in done.stderr
    assert "hint: advrec pretrain --resume runs/stopped" in done.stderr
    assert advrec("pretrain", "--resume", "stopped", "--epochs", 5, "-q").code == 0
