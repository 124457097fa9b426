"""Features from images: a folder of them through an encoder, a shard at a time.

Shards and a manifest are in a folder next to the result until it is complete, each complete
or absent. A shard knows which files it was computed from, so that an interrupted extraction resumes
where it was even if some images have been changed, removed or added.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from advrec.errors import DataError, RunError, UsageError
from advrec.features.files import checked_path, save_features
from advrec.system import files
from advrec.system.arrays import read_npz

if TYPE_CHECKING:
    from PIL.Image import Image

    from advrec.features.encoder import Encoder

ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SHARD: Final = 256
"""Images in a shard: what an interruption costs at most."""

MANIFEST: Final = "manifest.json"
SHARDS: Final = "shard-*.npz"

Progress = Callable[[int, int], None]
"""Called with the images that are done, and all of them."""


@dataclass(frozen=True)
class Extraction:
    """The result, and which images were left out."""

    path: Path
    items: int
    columns: int
    resumed: int  # images that an earlier, interrupted call had done
    unreadable: tuple[str, ...]  # names of files that are not images; empty unless skipped


def find_images(folder: Path) -> dict[str, Path]:
    """Item id -> image: the name of a file without its ending is the item's id. In order of ids.

    Raises DataError for a folder that is missing or has no images, and for two images of one item.
    """
    if not folder.is_dir():
        raise DataError("no such folder of images", path=folder)
    known: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in ENDINGS or not path.is_file():
            continue
        if path.stem in known:
            raise DataError(
                f"item {path.stem!r} has two images, {known[path.stem].name} and {path.name}",
                path=folder,
            )
        known[path.stem] = path
    if not known:
        raise DataError(
            f"no image; looked for files ITEM{', ITEM'.join(ENDINGS[:4])} and so on", path=folder
        )
    return known


def image_features(
    images: Path,  # a folder, as find_images reads it
    encoder: Encoder,
    out: Path,  # .npz
    *,
    batch_size: int = 32,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Encode every image and write the features as an .npz with the item ids.

    Called again after an interruption it does only what is left, and what has changed since.
    Raises DataError naming the first file that is not an image (`skip_unreadable`: it is left out
    and listed), RunError for the remains of another encoder's extraction, UsageError for a
    batch_size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    target, known = checked_path(out), find_images(images)
    parts = target.with_name(f"{target.name}.parts")
    _settle(parts, encoder)
    stamps = {item: _stamp(path) for item, path in known.items()}
    done = {item: row for item, (stamp, row) in _saved(parts).items() if stamps.get(item) == stamp}
    resumed, left = len(done), [item for item in known if item not in done]
    unreadable: list[str] = []
    number = len(list(parts.glob(SHARDS)))
    for start in range(0, len(left), SHARD):
        shard = {item: known[item] for item in left[start : start + SHARD]}
        ids, rows = _encode(shard, encoder, batch_size, skip_unreadable)
        _save(parts / f"shard-{number:05d}.npz", ids, [stamps[item] for item in ids], rows)
        number += 1
        done |= dict(zip(ids, rows, strict=True))
        unreadable += [path.name for item, path in shard.items() if item not in done]
        if progress is not None:
            progress(resumed + start + len(shard), len(known))
    if not done:
        raise DataError("none of the files can be read as an image", path=images)
    ids = [item for item in known if item in done]
    features = np.stack([done[item] for item in ids])
    save_features(target, ids, features)
    shutil.rmtree(parts)
    return Extraction(target, len(ids), features.shape[1], resumed, tuple(unreadable))


def read_image(path: Path) -> Image:
    """The image in RGB, turned as its camera says; DataError when it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot be read as an image ({_short(error)})", path=path) from error


def _encode(
    shard: Mapping[str, Path], encoder: Encoder, batch_size: int, skip_unreadable: bool
) -> tuple[list[str], NDArray[np.float32]]:
    """The items whose images can be read, and their features [n, F]."""
    ids: list[str] = []
    blocks: list[NDArray[np.float32]] = []
    waiting = list(shard.items())
    for start in range(0, len(waiting), batch_size):
        pictures = []
        for item, path in waiting[start : start + batch_size]:
            try:
                pictures.append(read_image(path))
            except DataError as error:
                if not skip_unreadable:
                    error.hint = (
                        "repair or remove it and repeat the command, which continues where it"
                        " was; or leave such files out with --skip-unreadable"
                    )
                    raise
                continue
            ids.append(item)
        if pictures:
            blocks.append(encoder.encode(pictures))
    return ids, np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)


def _stamp(path: Path) -> str:
    """What changes when the file does."""
    facts = path.stat()
    return f"{path.name} {facts.st_size} {facts.st_mtime_ns}"


def _save(path: Path, ids: list[str], stamps: list[str], rows: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array(ids, "U"), stamps=np.array(stamps, "U"), rows=rows)
    files.write(path, buffer.getvalue())


def _saved(parts: Path) -> dict[str, tuple[str, NDArray[np.float32]]]:
    """Item id -> stamp and features, of all shards; later ones override earlier ones."""
    known: dict[str, tuple[str, NDArray[np.float32]]] = {}
    for path in sorted(parts.glob(SHARDS)):
        shard = read_npz(path)
        names = [shard[name].tolist() for name in ("ids", "stamps") if name in shard]
        rows = shard.get("rows")
        if rows is None or [len(texts) for texts in names] != [len(rows)] * 2:
            raise DataError("not a file that advrec writes while it encodes", path=path)
        known |= dict(zip(names[0], zip(names[1], rows, strict=True), strict=True))
    return known


def _settle(parts: Path, encoder: Encoder) -> None:
    """Make the folder of shards, or check that the one there belongs to the same encoder."""
    path = parts / MANIFEST
    manifest = {"encoder": encoder.name, "fingerprint": encoder.fingerprint()}
    try:
        if not path.exists():
            parts.mkdir(parents=True, exist_ok=True)
            files.write(path, json.dumps(manifest, indent=2) + "\n")
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be created or read: {error}") from error
    if before.get("fingerprint") != manifest["fingerprint"]:
        raise RunError(
            f"{parts} holds what {before.get('encoder')!r} made of these images, or an encoder"
            f" {encoder.name!r} with other weights",
            hint=f"remove {parts}, or choose another --out",
        )


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 120 else text[:117] + "..."
