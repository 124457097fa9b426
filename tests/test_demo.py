"""The demo: a script that a shell can read, and a table of what the four steps kept."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

from support.cli_runner import advrec, write_ratings

SCRIPTS = Path(__file__).parent.parent / "scripts"
TINY = ["--dim", 8, "--batch-size", 64, "--epochs", 2, "--threads", 1, "--quiet"]


def test_the_script_is_posix_shell():
    subprocess.run(["sh", "-n", str(SCRIPTS / "demo.sh")], check=True)


def test_the_table_and_its_sentences_come_from_the_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_ratings(Path("ratings.csv"))
    assert advrec("pretrain", "--data", "ratings.csv", "--name", "base", *TINY).code == 0
    assert advrec("adv-train", "--name", "base-apr", *TINY).code == 0
    attacked = advrec("attack", "base", "base-apr", "--quiet", "--json").json()
    assert advrec("eval", "base", "base-apr", "--quiet").code == 0
    runpy.run_path(str(SCRIPTS / "demo_table.py"))["main"]("runs", ["base", "base-apr"])
    shown = capsys.readouterr().out
    for run in attacked["runs"]:
        for result in run["results"]:
            assert f"{result['noisy']['metrics']['NDCG@20']:.3f}" in shown
    worst = next(
        result
        for result in attacked["runs"][0]["results"]
        if result["kind"] == "adversarial" and result["eps"] == 1
    )
    lost = round(-100 * worst["change"]["NDCG@20"])
    assert f"Adversarial noise of ε = 1 takes {lost} % from MF of the NDCG@20" in shown
    assert Path("runs/demo.png").is_file()
