"""Counts in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`3 pairs`, `1 pair`, `1,200 pairs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
