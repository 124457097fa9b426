"""The forecast of memory: close to what a training takes, said before it, refused in time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import advrec
from advrec.data.config import DataConfig
from advrec.errors import ConfigError
from advrec.models import MODELS, ModelSpec, model_class
from advrec.system.memory import free_bytes, written
from advrec.training.forecast import Forecast, forecast

SETTINGS = {
    "mf": {"model": "mf"},
    "mf small batch": {"model": "mf", "batch_size": 512},
    "mf apr": {"model": "mf", "phase": "adversarial"},
    "mf adam": {"model": "mf", "optimizer": "adam"},
    "lightgcn": {"model": "lightgcn"},
    "lightgcn bf16": {"model": "lightgcn", "precision": "bf16"},
    "lightgcn ego": {"model": "lightgcn", "phase": "adversarial"},
}

TRAIN = """
import json, sys
from pathlib import Path
import advrec
from advrec.data import DataConfig
from advrec.training.forecast import forecast
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.models import model_class

options = json.loads(sys.argv[2])
data = advrec.load_dataset(sys.argv[1], split="random")
config = resolve(TrainConfig(**options), model_class(options["model"]))
said = forecast(config.model_copy(update={"device": "cpu"}), data)
phase = options.pop("phase", "pretrain")
train = advrec.pretrain if phase == "pretrain" else advrec.adv_train
more = {} if phase == "pretrain" else {"from_": "scratch"}
result = train(data, **more, **options, runs=sys.argv[3])
print(json.dumps({"held": said.held, "said": said.peak, "peak": result.run.progress.peak_bytes}))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from advrec.data.sources.synth import write_synthetic

    folder = tmp_path_factory.mktemp("memory") / "synth"
    write_synthetic(folder, users=60_000, items=20_000, pairs=600_000, seed=0)
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_forecast_is_close_to_the_measured_peak(name: str, data: Path, tmp_path: Path) -> None:
    options = {"dim": 192, "epochs": 1, "batch_size": 65_536, "device": "cpu", **SETTINGS[name]}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(data), json.dumps(options), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    added, wanted = found["peak"] - found["held"], found["said"] - found["held"]
    assert 0.8 * wanted < added < 1.2 * wanted, found


def test_said_before_training_starts(tmp_path: Path) -> None:
    notes: list[str] = []
    advrec.pretrain(
        "debian",
        epochs=1,
        runs=tmp_path,
        on_event=lambda event: notes.append(event.message) if event.kind == "note" else None,
    )
    (memory,) = (note for note in notes if note.startswith("memory: about "))
    assert "at the peak" in memory


def test_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVREC_MEMORY", "1M")
    with pytest.raises(
        ConfigError, match=r"needs about .* more memory .*, and 0 KB are free"
    ) as no:
        advrec.pretrain("debian", epochs=1, runs=tmp_path / "runs")
    assert "ADVREC_MEMORY=" in str(no.value.hint)
    assert not (tmp_path / "runs").exists()


def test_a_card_holds_no_files_and_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from advrec.config.resolve import resolve
    from advrec.config.train import TrainConfig
    from advrec.data import load_dataset

    monkeypatch.setenv("ADVREC_MEMORY", "80G")
    monkeypatch.setattr("advrec.ops.on_cuda", lambda: True)
    config = resolve(TrainConfig(model="mf"), model_class("mf"))
    data = load_dataset("debian")
    cpu, card = (
        forecast(config.model_copy(update={"device": device}), data) for device in ("cpu", "cuda:0")
    )
    assert card.held == 0
    assert card.parts["weights"] == cpu.parts["weights"]
    assert card.peak < 6 * card.parts["weights"] < cpu.peak - cpu.held


def test_limit_that_is_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVREC_MEMORY", "much")
    with pytest.raises(ConfigError, match="ADVREC_MEMORY must be a size, got 'much'"):
        free_bytes(0)


@pytest.mark.parametrize(
    ("text", "size"), [("1G", 2**30), ("1.5g", 3 * 2**29), ("64 MB", 2**26), ("1000", 1000)]
)
def test_limits(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVREC_MEMORY", text)
    assert free_bytes(0) == size
    assert free_bytes(size + 1) == 0


def test_sentence() -> None:
    parts = {"weights": 3 << 29, "step": 5, "checkpoint": 1 << 20}
    said = Forecast(1 << 30, parts, None).sentence()
    assert (
        said == "memory: about 2.5 GB at the peak (1.0 GB now, weights 1.5 GB, checkpoint 1.0 MB)"
    )
    assert written(12 << 30) == "12 GB"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_knows_its_numbers(name: str, tmp_path: Path) -> None:
    from advrec.config.resolve import resolve
    from advrec.config.train import TrainConfig
    from advrec.data import load_dataset
    from advrec.runs.model import build_model

    kind = model_class(name)
    data = load_dataset(
        DataConfig.of("debian").with_features() if kind.needs_features else "debian"
    )
    config = resolve(TrainConfig(model=name), kind)
    model = build_model(config, data, "cpu")
    spec = ModelSpec(data.n_users, data.n_items, config.dim, config.layers, options=config.options)
    width = 0 if data.item_features is None else data.item_features.shape[1]
    numbers = sum(weight.numel() for weight in model.parameters())
    assert kind.parameter_count(spec, width) == pytest.approx(numbers, rel=0.05)
