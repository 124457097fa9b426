"""Features from images, through small encoders with random weights that are read from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.cli_runner import advrec as run

from advrec.data.item_features import load_features
from advrec.errors import ConfigError, DataError, RunError, UsageError
from advrec.features import encoder as encoders
from advrec.features import images as module
from advrec.features.encoder import Encoder, load_encoder
from advrec.features.images import find_images, image_features, read_image

transformers = pytest.importorskip("transformers", reason="the extra `images` is not installed")
pillow = pytest.importorskip("PIL.Image", reason="the extra `images` is not installed")

SIZE = {"height": 32, "width": 32}


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer of two small layers, as `save_pretrained` writes one."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size=SIZE).save_pretrained(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images: colours of noise, in two formats and shapes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(20):
        pixels = rng.integers(0, 255, (20 + n, 30, 3), dtype=np.uint8)
        pillow.fromarray(pixels).save(folder / f"item {n}.{'png' if n % 2 else 'bmp'}")
    (folder / "notes.txt").write_text("no image, and not taken for one")
    return folder


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(zip(arrays["ids"].tolist(), arrays["features"], strict=True))


def test_a_row_is_what_the_model_makes_of_the_prepared_image(vit, photos, tmp_path):
    made = image_features(photos, load_encoder(str(vit)), tmp_path / "f.npz", batch_size=7)
    assert (made.items, made.columns, made.resumed, made.unreadable) == (20, 16, 0, ())
    found = read(tmp_path / "f.npz")
    assert set(found) == {f"item {n}" for n in range(20)}
    model = transformers.AutoModel.from_pretrained(vit).eval()
    prepare = transformers.AutoImageProcessor.from_pretrained(vit, backend="pil")
    image = pillow.open(photos / "item 4.bmp").convert("RGB")
    with torch.no_grad():
        expected = model(**prepare(image, return_tensors="pt")).pooler_output[0]
    # A batch of 7 and one of 1 add up in other orders: some float32 ulps of numbers below 1.
    np.testing.assert_allclose(found["item 4"], expected, atol=1e-6)
    assert not (tmp_path / "f.npz.parts").exists()
    values, _ = load_features(tmp_path / "f.npz", ["item 4", "item 0"])
    np.testing.assert_array_equal(values[0], found["item 4"])


def test_other_kinds_of_models_give_what_they_pool_or_the_mean_of_their_states(tmp_path):
    pixels = [pillow.new("RGB", (40, 40), colour) for colour in ("red", "blue", "red")]
    torch.manual_seed(0)
    resnet = transformers.ResNetModel(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 12], depths=[1] * 4)
    )
    tower = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    tower["intermediate_size"] = 8
    clip = transformers.CLIPModel(
        transformers.CLIPConfig(
            projection_dim=10,
            text_config={**tower, "vocab_size": 20},
            vision_config={**tower, "image_size": 32, "patch_size": 16},
        )
    )

    class Plain(torch.nn.Module):
        """Hidden states [n, tokens, F] and nothing pooled."""

        def forward(self, pixel_values):
            states = pixel_values.mean((2, 3))[:, None].expand(-1, 5, -1)
            return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)

    prepare = transformers.ViTImageProcessorPil(size=SIZE)
    for model, width in ((resnet, 12), (clip, 10), (Plain(), 3)):
        features = Encoder("tiny", "cpu", model.eval(), prepare).encode(pixels)
        assert features.shape == (3, width)
        assert features.dtype == np.float32
        np.testing.assert_allclose(features[0], features[2], atol=1e-6)
        assert not np.allclose(features[0], features[1])


def test_an_interrupted_extraction_goes_on_where_it_was(vit, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 8)
    whole = image_features(photos, load_encoder(str(vit)), tmp_path / "whole.npz", batch_size=4)
    calls = []

    class Stopping(Encoder):
        def encode(self, images):
            calls.append(len(images))
            if len(calls) == 4:
                raise KeyboardInterrupt
            return super().encode(images)

    full = load_encoder(str(vit))
    stopping = Stopping(full.name, full.device, full.model, full.prepare)
    with pytest.raises(KeyboardInterrupt):
        image_features(photos, stopping, tmp_path / "f.npz", batch_size=4)
    assert not (tmp_path / "f.npz").exists()
    told = []
    made = image_features(photos, stopping, tmp_path / "f.npz", batch_size=4,
                          progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert made.resumed == 8  # one shard
    assert sum(calls) == 16 + 12
    assert told == [(16, 20), (20, 20)]
    assert (tmp_path / "f.npz").read_bytes() == whole.path.read_bytes()


def test_what_changed_in_between_is_done_again(vit, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 4)
    encoder = load_encoder(str(vit))
    (photos / "item 9.png").write_bytes(b"not an image at all")
    with pytest.raises(DataError, match=r"item 9\.png: cannot be read as an image") as caught:
        image_features(photos, encoder, tmp_path / "f.npz")
    assert "--skip-unreadable" in caught.value.hint
    (photos / "item 9.png").unlink()
    (photos / "item 0.bmp").unlink()
    pillow.new("RGB", (9, 9), "green").save(photos / "item 10.bmp")
    pillow.new("L", (9, 9), 77).save(photos / "new.png")
    made = image_features(photos, encoder, tmp_path / "f.npz")
    # "item 0", "item 1", "item 10", … in order: of sixteen done, one is gone and one has changed.
    assert made.resumed == 14
    fresh = image_features(photos, encoder, tmp_path / "again.npz")
    found, expected = read(made.path), read(fresh.path)
    assert list(found) == list(expected)
    for name, row in expected.items():
        np.testing.assert_allclose(found[name], row, atol=1e-6)


def test_unreadable_images_can_be_left_out(vit, photos, tmp_path):
    (photos / "item 3.png").write_bytes(b"")
    cut = (photos / "item 5.png").read_bytes()
    (photos / "item 5.png").write_bytes(cut[: len(cut) // 2])
    made = image_features(photos, load_encoder(str(vit)), tmp_path / "f.npz", skip_unreadable=True)
    assert made.unreadable == ("item 3.png", "item 5.png")
    assert made.items == 18
    for path in photos.iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="none of the files"):
        image_features(photos, load_encoder(str(vit)), tmp_path / "g.npz", skip_unreadable=True)


def test_the_remains_of_another_encoder_are_not_mixed_in(vit, photos, tmp_path):
    encoder = load_encoder(str(vit))
    other = load_encoder(str(vit))
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    assert encoder.fingerprint() == load_encoder(str(vit)).fingerprint() != other.fingerprint()
    (photos / "item 3.png").write_bytes(b"")
    with pytest.raises(DataError):
        image_features(photos, encoder, tmp_path / "f.npz")
    with pytest.raises(RunError, match="other weights") as caught:
        image_features(photos, other, tmp_path / "f.npz")
    assert "f.npz.parts" in caught.value.hint


def test_images_are_turned_and_brought_to_rgb(tmp_path):
    tall = pillow.new("P", (4, 8))
    tall.putpixel((0, 0), 1)
    exif = pillow.Exif()
    exif[0x0112] = 6  # turned by a quarter
    tall.convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").size == (8, 4)
    tall.save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").mode == "RGB"


def test_a_folder_is_read_by_item_and_in_order(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find_images(tmp_path / "none")
    with pytest.raises(DataError, match=r"no image; looked for files ITEM\.jpg"):
        find_images(tmp_path)
    for name in ("b.png", "a.JPG", "10.webp"):
        (tmp_path / name).write_bytes(b"")
    assert list(find_images(tmp_path)) == ["10", "a", "b"]
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"item 'b' has two images, b\.jpg and b\.png"):
        find_images(tmp_path)


def test_an_encoder_that_cannot_be_had_is_refused_in_a_sentence(vit, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        load_encoder(str(tmp_path))
    assert "model.safetensors" in caught.value.hint

    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(encoders.importlib, "import_module", absent)
    with pytest.raises(UsageError, match="transformers and Pillow") as caught:
        load_encoder(str(vit))
    assert caught.value.hint == "pip install 'advrec[images]'"


def test_no_pickle_is_read(vit, tmp_path):
    for file in vit.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = transformers.ViTModel.from_pretrained(vit)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_encoder(str(tmp_path))


def test_the_command_extracts_resumes_and_names_the_broken_image(vit, photos, tmp_path):
    out = tmp_path / "f.npz"
    line = ("features", "--images", photos, "--encoder", vit, "--out", out, "--device", "cpu")
    (photos / "item 3.png").write_bytes(b"")
    failed = run(*line)
    assert failed.code == 3
    assert "item 3.png: cannot be read as an image" in failed.err
    assert "Traceback" not in failed.err
    made = run(*line, "--skip-unreadable", "--batch-size", 5, "--json")
    assert made.code == 0, made.err
    assert made.json() == {
        "file": str(out), "items": 19, "columns": 16, "encoder": str(vit), "resumed": 0,
        "unreadable": ["item 3.png"],
    }  # fmt: skip
    assert len(read(out)) == 19
