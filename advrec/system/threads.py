"""Whether threads may be started at all: libraries end the process where they may not."""

from __future__ import annotations

import threading

from advrec.errors import OperatingSystemError
from advrec.system.refusals import refusal


def check(count: int) -> None:
    """Start so many threads at once, and end them. OperatingSystemError if that is refused.

    OpenMP ends the process, with exit code 1, when the first parallel loop cannot start its
    threads, and OpenBLAS sends it SIGINT; asked before, the refusal has a sentence.
    """
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        raise refusal(error) or error from error
    finally:
        end.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def refused() -> OperatingSystemError | None:
    """The refusal, if not even one thread may be started."""
    try:
        check(1)
    except OperatingSystemError as error:
        return error
    return None
