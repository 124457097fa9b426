"""Noise in files: written, read back for the same place only, and hostile files refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_attacks import DATA, N_ITEMS, N_USERS, trained
from test_certify import model_of

from advrec.errors import DataError, UsageError
from advrec.robustness.noise_file import read_noise, write_noise
from advrec.robustness.suite import run_suite

K = 5


@pytest.mark.parametrize(
    ("name", "site"),
    [("mf", "ego"), ("lightgcn", "final"), ("vbpr", "ego"), ("ngcf", "weights"),
     ("cdae", "decoder"), ("neumf", "ego")],
)  # fmt: skip
def test_what_was_written_is_read_back(name: str, site: str, tmp_path: Path) -> None:
    model = model_of(name)
    norm = model.site(site).table_norms[0]
    start = model.noise_like(site, norm, None)
    generator = torch.Generator().manual_seed(0)
    noise = {key: torch.randn(v.shape, generator=generator).to(v) for key, v in start.items()}
    path = write_noise(tmp_path / "noise.npz", noise, model, site, {"eps": 0.5})
    again = read_noise(path, model, site)
    assert {key: value.tolist() for key, value in again.items()} == {
        key: value.tolist() for key, value in noise.items()
    }
    with np.load(path) as arrays:
        names = set(arrays.files) - {"about"}
        assert str(arrays["about"]) == '{"eps": 0.5}'
    shared = model.site(site).rows == "both"
    assert names == ({"users", "items"} if shared else set(noise))


def test_one_side_may_be_left_out(tmp_path: Path) -> None:
    model = trained("mf")
    np.savez(tmp_path / "a.npz", items=np.ones((N_ITEMS, 8), np.float32))
    noise = read_noise(tmp_path / "a.npz", model, "ego")["ego"]
    assert noise.dtype == torch.float64
    assert not noise[:N_USERS].any()
    assert bool((noise[N_USERS:] == 1).all())


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npz file"),
        (b"PK\x03\x04 broken", "not an .npz file"),
        (
            npz(users=np.ones((3, 8), np.float32)),
            r"users: expected numbers of shape \[40, 8\], fou",
        ),
        (npz(users=np.ones((40, 8), np.int64)), "found int64 of shape"),
        (npz(users=np.full((40, 8), np.nan)), "users: non-finite values"),
        (npz(users=np.full((40, 8), np.inf, np.float32)), "users: non-finite values"),
        (npz(other=np.ones((40, 8))), "expected the arrays users or items, found other"),
        (npz(ego=np.ones((90, 8)), other=np.ones(1)), "found other"),
        (npz(about=np.array("{}")), "expected the arrays users or items, found none"),
        (npz(users=np.array([{}], dtype=object)), "not an .npz file"),
    ],
)
def test_files_that_are_not_such_noise_are_one_sentence(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_noise(path, trained("mf"), "ego")
    assert "bad.npz" in str(caught.value)


def test_files_that_cannot_be_read_or_written_are_one_sentence(tmp_path: Path) -> None:
    model = trained("mf")
    with pytest.raises(DataError, match="does not exist"):
        read_noise(tmp_path / "none.npz", model, "ego")
    with pytest.raises(UsageError, match=r"must end in \.npz"):
        write_noise(tmp_path / "noise.npy", model.noise_like("ego", "row", None), model, "ego", {})
    too_large = npz(users=np.full((40, 8), 1e300))
    (tmp_path / "large.npz").write_bytes(too_large)
    with pytest.raises(DataError, match="too large for the model's precision"):
        read_noise(tmp_path / "large.npz", trained("mf").float(), "ego")


@pytest.mark.parametrize("unit", ["eps", "rho"])
def test_noise_from_a_file_is_evaluated_where_it_fits_and_refused_where_nothing_holds_it(
    unit: str, tmp_path: Path
) -> None:
    model = trained("mf")
    best = run_suite(model, DATA, **{unit: [0.3]}, ks=(K,), queries=20).at(0.3).worst
    assert best.noise is not None
    path = write_noise(tmp_path / "worst.npz", best.noise, model, "ego", {})
    loaded = {"worst.npz": read_noise(path, model, "ego")}
    result = run_suite(model, DATA, suite="", **{unit: [0.1, 0.3, 0.5]}, ks=(K,), loaded=loaded)
    small, exact, large = result.levels
    assert small.members == ()
    assert small.worst.name == "no noise"
    for level in (exact, large):
        assert level.worst.name == "worst.npz"
        assert level.worst.knowledge == "oracle"
        assert level.worst.evaluation.values == best.evaluation.values
    with pytest.raises(UsageError, match=r"the noise of worst\.npz measures .* more than the larg"):
        run_suite(model, DATA, suite="", **{unit: [0.1]}, ks=(K,), loaded=loaded)
    joined = run_suite(model, DATA, suite="apr", **{unit: [0.3]}, ks=(K,), loaded=loaded)
    assert [member.name for member in joined.at(0.3).members] == ["BPR, train, 1 step", "worst.npz"]
