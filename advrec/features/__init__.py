"""Content features of items, made from their text or their images."""

from __future__ import annotations

from advrec.features.files import save_features
from advrec.features.text import TextFeatures, text_features

__all__ = ["TextFeatures", "save_features", "text_features"]
