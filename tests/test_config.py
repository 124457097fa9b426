from __future__ import annotations

import subprocess
import sys

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from advrec.config.file import ConfigFile
from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig
from advrec.errors import ConfigError, UsageError
from advrec.models import MODELS
from advrec.validation import parse

MF, LIGHTGCN = MODELS["mf"], MODELS["lightgcn"]


@pytest.mark.parametrize(
    "module", ["advrec.config.train", "advrec.config.file", "advrec.data.config"]
)
def test_the_options_are_known_without_torch_and_numpy(module):
    code = (
        f"import sys, {module}; sys.exit(str({{'torch', 'numpy'}} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("values", "name", "expected", "got"),
    [
        ({"epochs": 0}, "epochs", "at least 1", "0"),
        ({"epochs": 1.5}, "epochs", "a whole number", "1.5"),
        ({"epochs": "many"}, "epochs", "a whole number", "'many'"),
        ({"lr": 0}, "lr", "more than 0", "0"),
        ({"lr": "fast"}, "lr", "a number", "'fast'"),
        ({"lr": float("nan")}, "lr", "a finite number", "nan"),
        ({"reg": float("inf")}, "reg", "a finite number", "inf"),
        ({"seed": 2**63}, "seed", f"less than {2**63}", str(2**63)),
        (
            {"optimizer": "lbfgs"},
            "optimizer",
            "'adagrad', 'sgd', 'adam' or 'sparse_adam'",
            "'lbfgs'",
        ),
        ({"device": "gpu"}, "device", "auto, cpu, cuda or cuda:N", "'gpu'"),
        ({"metric": "NDCG@"}, "metric", "a metric such as NDCG@20 or Recall@10", "'NDCG@'"),
        ({"site": 3}, "site", "text", "3"),
        ({"options": 3}, "options", "a table of options", "3"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(values, name, expected, got):
    with pytest.raises(ConfigError) as error:
        parse(TrainConfig, values, "x.toml")
    assert str(error.value) == f"{name} in x.toml must be {expected}, got {got}"
    assert error.value.hint is None


def test_a_mistyped_word_hints_at_the_nearest():
    with pytest.raises(ConfigError) as error:
        parse(TrainConfig, {"optimizer": "adamw", "sampling": "user"}, "x.toml")
    assert error.value.hint == "did you mean 'adam'?; did you mean 'users'?"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("epoch", "epochs"),
        ("batchsize", "batch_size"),
        ("adv-weight", "adv_weight"),
        ("learning_rate", "lr"),
        ("embedding_dim", "dim"),
        ("Epochs", "epochs"),
    ],
)
def test_an_unknown_option_hints_at_the_nearest(typed, meant):
    with pytest.raises(ConfigError, match=f"unknown option '{typed}' in here") as error:
        parse(TrainConfig, {typed: 1}, "here")
    assert error.value.hint == f"did you mean '{meant}'?"


def test_an_option_like_no_other_lists_them_all():
    with pytest.raises(ConfigError) as error:
        parse(TrainConfig, {"zzzz": 1}, "here")
    assert "adv_weight" in str(error.value.hint)


def test_every_wrong_option_is_told_at_once():
    with pytest.raises(ConfigError, match=r"epochs.*; lr.*; .*'dimm'"):
        parse(TrainConfig, {"epochs": 0, "lr": -1, "dimm": 3}, "here")


def test_open_options_become_those_of_the_model():
    mf, lightgcn = (resolve(TrainConfig(model=m.name), m) for m in (MF, LIGHTGCN))
    assert (mf.optimizer, mf.lr, mf.batch_size, mf.reduction) == ("adagrad", 0.05, 512, "sum")
    assert (lightgcn.optimizer, lightgcn.lr, lightgcn.layers) == ("adam", 1e-3, 3)
    assert (mf.layers, mf.metric, mf.eval_every, mf.patience) == (0, "NDCG@20", 10, 10)


def test_what_is_given_beats_what_the_model_says():
    config = resolve(TrainConfig(model="lightgcn", layers=2, lr=0.01, reg=0.0), LIGHTGCN)
    assert (config.layers, config.lr, config.reg, config.batch_size) == (2, 0.01, 0.0, 2048)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("phase", ["pretrain", "adversarial"])
def test_nothing_but_a_models_own_init_std_is_left_open(name, phase):
    config = resolve(TrainConfig(model=name, phase=phase), MODELS[name])
    open_options = [key for key, value in config.model_dump().items() if value is None]
    assert set(open_options) <= {"init_std"}
    assert resolve(config, MODELS[name]) == config


def test_pretraining_has_no_perturbation():
    config = resolve(TrainConfig(model="mf"), MF)
    assert (config.eps, config.adv_weight) == (0.0, 0.0)
    with pytest.raises(ConfigError, match=r"eps is 0.5, but pretraining") as error:
        resolve(TrainConfig(model="mf", eps=0.5), MF)
    assert "adv-train" in str(error.value.hint)


def test_adversarial_training_takes_the_models_perturbation():
    mf, lightgcn = (
        resolve(TrainConfig(model=m.name, phase="adversarial"), m) for m in (MF, LIGHTGCN)
    )
    assert (mf.eps, mf.adv_weight, mf.site, mf.norm) == (0.5, 1.0, "ego", "row")
    assert (lightgcn.eps, lightgcn.adv_weight, lightgcn.site) == (0.5, 0.1, "ego")


def test_sites_and_norms_are_those_of_the_model():
    assert resolve(TrainConfig(model="mf", phase="adversarial", site="final"), MF).site == "ego"
    with pytest.raises(UsageError, match="no site 'egg'"):
        resolve(TrainConfig(model="mf", phase="adversarial", site="egg"), MF)
    with pytest.raises(UsageError, match="no norm 'sample'"):
        resolve(TrainConfig(model="lightgcn", phase="adversarial", norm="sample"), LIGHTGCN)


def test_layers_of_a_model_without_any_are_refused():
    with pytest.raises(ConfigError, match="layers is 2, but model 'mf' has no layers"):
        resolve(TrainConfig(model="mf", layers=2), MF)


def test_options_of_a_model_are_those_it_names(monkeypatch):
    with pytest.raises(ConfigError, match="'mf' has no option 'heads'") as error:
        resolve(TrainConfig(model="mf", options={"heads": 2}), MF)
    assert error.value.hint == "it has loss"
    monkeypatch.setattr(MF, "options", {"heads": 1, "tails": 2}, raising=False)
    assert resolve(TrainConfig(model="mf", options={"heads": 2}), MF).options == {
        "heads": 2, "tails": 2,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no option 'head'") as error:
        resolve(TrainConfig(model="mf", options={"head": 2}), MF)
    assert error.value.hint == "did you mean 'heads'?"


def test_a_figure_that_does_not_exist_is_refused_before_training():
    with pytest.raises(UsageError, match="NDGC"):
        resolve(TrainConfig(model="mf", metric="NDGC@20"), MF)


CONFIGS = st.builds(
    TrainConfig,
    phase=st.sampled_from(["pretrain", "adversarial"]),
    dim=st.none() | st.integers(1, 2**20),
    lr=st.none() | st.floats(1e-30, 1e30),
    optimizer=st.none() | st.sampled_from(["adagrad", "sgd", "adam", "sparse_adam"]),
    seed=st.integers(0, 2**63 - 1),
    site=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    patience=st.none() | st.integers(0, 100),
    options=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.booleans() | st.integers(-(2**62), 2**62) | st.lists(st.integers(0, 9)),
    ),
)


def _written_and_read(config: TrainConfig) -> TrainConfig:
    """`config` through the file of a run: its [train] section as TOML, read again."""
    text = tomli_w.dumps({"train": config.given()})
    return parse(type(config), ConfigFile.parse(text, "c.toml").train, "c.toml")


@given(CONFIGS)
def test_a_configuration_survives_its_file(config):
    assert _written_and_read(config) == config


def test_a_resolved_configuration_survives_its_file():
    config = resolve(TrainConfig(model="lightgcn", phase="adversarial"), LIGHTGCN)
    assert _written_and_read(config) == config


def test_flags_win_over_the_file_and_the_file_over_nothing():
    file = ConfigFile.parse(
        '[data]\ndata = "x"\n[train]\nlr = 0.1\ndim = 8\n[train.options]\na = 1\nb = 2', "c.toml"
    )
    merged = file.under({"lr": 0.2, "dim": None, "options": {"b": 3}})
    assert merged == {"lr": 0.2, "dim": 8, "options": {"a": 1, "b": 3}}
    assert file.data == {"data": "x"}


def test_the_configuration_of_a_run_can_be_given_again():
    text = '[train]\nlr = 0.3\n[run]\nparent = "x"\n[versions]\npython = "3"\n'
    assert ConfigFile.parse(text, "c.toml").train["lr"] == 0.3


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[train]\nlr = ?\n", r"c\.toml is not valid TOML.*line 2", None),
        ("lr = 0.1", r"c\.toml has 'lr' at the top", "put options below"),
        ("[trian]\nlr = 0.1", r"'trian' at the top", "did you mean 'train'"),
        ("train = 3", r"'train' as a value, expected a section", None),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(tmp_path, text, message, hint):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        ConfigFile.read(tmp_path / "c.toml")
    assert (hint or "") in (error.value.hint or "")


def test_a_file_that_cannot_be_read_is_an_error_of_configuration(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        ConfigFile.read(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"[train] # \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        ConfigFile.read(tmp_path / "latin.toml")
