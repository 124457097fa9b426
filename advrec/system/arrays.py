"""Arrays of NumPy's files, read without trust: nothing is unpickled, and no header is believed.

A header can claim 10¹² rows, and an archive can hold terabytes of zeros in a few kilobytes. What a
file says that it holds is compared with its size before any memory is asked for.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from advrec.errors import DataError

Array = NDArray[np.generic]

LIMIT = 1 << 28  # bytes that any archive may unpack to
RATIO = 100  # beyond that, unpacked bytes per packed byte
LOAD_ERRORS = (  # what NumPy and zipfile raise for damaged files
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npy(path: Path) -> Array:
    """The array of a .npy file. DataError for any other file, and a header that does not fit."""
    with _refused(path, "a .npy file"), path.open("rb") as file:
        return _array(file, path.stat().st_size)


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file by name. Raises as `read_npy`, and for one that is a bomb."""
    with _refused(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        limit = max(LIMIT, RATIO * path.stat().st_size)
        members = archive.infolist()
        if sum(member.file_size for member in members) > limit:
            raise ValueError(f"they unpack to more than {limit >> 20:,} MiB")
        arrays = {}
        for member in members:
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = _array(file, member.file_size)
        return arrays


def _array(file: IO[bytes], size: int) -> Array:
    """The array in a stream of `size` bytes."""
    version = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"format {version[0]}.{version[1]} is not read")
    shape, columns_first, dtype = read_header[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise ValueError(f"its header has the shape {shape}")
    needed = math.prod(shape) * dtype.itemsize
    if needed > size:
        raise ValueError(f"its header asks for {needed:,} bytes, and the file has {size:,}")
    if needed == 0:
        return np.empty(shape, dtype)
    content = bytearray(file.read(needed))
    if len(content) < needed:
        raise EOFError("it ends too early")
    array: Array = np.frombuffer(content, dtype, math.prod(shape))
    return array.reshape(shape, order="F" if columns_first else "C")


@contextmanager
def _refused(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError("no such file", path=path) from None
    except LOAD_ERRORS as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(f"not {what} that can be read ({reason})", path=path) from None
