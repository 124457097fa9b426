"""Errors in which the operating system says no, as one sentence each.

What writes, starts and locks things raises such a sentence itself, with what it was about. This is
for the rest: any call may meet a full disk, a limit or a device that fails.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from advrec.errors import OperatingSystemError

HINTS: Mapping[int, str] = {
    errno.ENOSPC: "free some space, then run the same command again; what was saved is whole",
    errno.EDQUOT: "free some space, then run the same command again; what was saved is whole",
    errno.EFBIG: "`ulimit -f` shows the limit; what was saved before is whole",
    errno.EROFS: "choose a folder that can be written to",
    errno.EIO: "the device may be failing: the system's log says more",
    errno.EMFILE: "`ulimit -n` shows the limit, `ulimit -n 4096` raises it",
    errno.ENFILE: "close other programs: the limit is the whole machine's",
    errno.EAGAIN: "`ulimit -u` shows how many processes and threads may run; --threads 1 needs one",
    errno.ENOMEM: "close other programs, or train in smaller batches",
}
"""What to do, for the refusals that no program can prevent."""

_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc")  # torch, C++
_THREADS = ("can't start new thread", os.strerror(errno.EAGAIN))  # Python, C++


def refusal(error: BaseException) -> OperatingSystemError | None:
    """The sentence for an error of the operating system; None if it is another kind of error."""
    if isinstance(error, OSError) and not isinstance(error, ImportError):
        number = error.errno
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        place = "" if error.filename is None else f": {error.filename}"
        return _sentence(f"{reason}{place}", number)
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or _has(text, _MEMORY):
        return _sentence(f"not enough memory{f' ({text[:200]})' if text else ''}", errno.ENOMEM)
    if isinstance(error, RuntimeError) and _has(text, _THREADS):
        return _sentence("no thread could be started", errno.EAGAIN)
    if isinstance(error, RuntimeError | ImportError):
        for number in HINTS:
            if os.strerror(number) in text:
                return _sentence(text[:200], number)
    return None


def _sentence(what: str, number: int | None) -> OperatingSystemError:
    hint = None if number is None else HINTS.get(number)
    return OperatingSystemError(f"the operating system refused: {what}", hint=hint)


def _has(text: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in text for phrase in phrases)
