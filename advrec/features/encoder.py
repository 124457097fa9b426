"""A pretrained image encoder from the transformers library (the extra `images`)."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from advrec.errors import ConfigError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Encoder:
    """An image model and the preparation of images that belongs to it."""

    name: str  # as given: a name on the hub, or a path
    device: str
    model: Any
    prepare: Any

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:  # [n, F]
        """The features of images in RGB.

        Those that the model itself pools (CLIP: those that it compares with text); of a model that
        pools nothing, the mean over its last hidden states.
        """
        pixels = self.prepare(images=list(images), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            pixels = pixels.to(self.device)
            if hasattr(self.model, "get_image_features"):
                out = self.model.get_image_features(pixel_values=pixels)
            else:
                out = self.model(pixel_values=pixels)
        values = out if isinstance(out, torch.Tensor) else getattr(out, "pooler_output", None)
        if values is None:
            hidden = out.last_hidden_state  # [n, tokens, F], or [n, F, height, width]
            values = hidden.mean(1) if hidden.dim() == 3 else hidden.mean((2, 3))
        features: NDArray[np.float32] = values.flatten(1).float().cpu().numpy()
        return features

    def fingerprint(self) -> str:
        """sha256 of the weights and of how images are prepared: what decides the features."""
        digest = hashlib.sha256(repr(sorted(self.prepare.to_dict().items())).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def load_encoder(name: str, device: str = "cpu") -> Encoder:
    """A model by its name on the Hugging Face hub, or from a folder that `save_pretrained` wrote.

    Weights are read as safetensors; no code that comes with a model is run. Raises UsageError where
    transformers or Pillow is missing, ConfigError for a model that is unavailable or has no
    image encoder.
    """
    try:
        importlib.import_module("PIL")  # transformers reports a missing one less clearly
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError(
            f"image features need the packages transformers and Pillow: {error}",
            hint="pip install 'advrec[images]'",
        ) from error
    transformers.utils.logging.disable_progress_bar()
    local = Path(name).expanduser()
    try:
        offline = local.exists() or _is_cached(name)
        source = str(local) if local.exists() else name
        prepare = transformers.AutoImageProcessor.from_pretrained(
            source, backend="pil", local_files_only=offline
        )
        model = transformers.AutoModel.from_pretrained(
            source, use_safetensors=True, local_files_only=offline
        )
    except Exception as error:  # of the hub's client, of transformers, of the files
        first = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"encoder {name!r} cannot be loaded: {first}",
            hint="a name on huggingface.co (needs the internet once), or a folder with config.json,"
            " preprocessor_config.json and model.safetensors",
        ) from error
    return Encoder(name, device, model.to(device).eval(), prepare)


def _is_cached(name: str) -> bool:
    """Is the model on this machine already? If not, raises soon if the hub does not have it.

    transformers itself would try for more than a minute to reach a hub that cannot be reached.
    """
    hub: Any = importlib.import_module("huggingface_hub")
    if isinstance(hub.try_to_load_from_cache(name, "config.json"), str):
        return True
    hub.HfApi().model_info(name, timeout=10)
    return False
