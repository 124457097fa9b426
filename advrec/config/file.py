"""A configuration file: its TOML, and its sections."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advrec.errors import ConfigError
from advrec.validation import did_you_mean

# Python 3.10 has the same parser as a package.
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


@dataclass(frozen=True)
class ConfigFile:
    """A `--config FILE.toml`: the sections `[data]` and `[train]`, not yet checked field by field.

    A run's own `config.toml` can be given too: its `[run]` and `[versions]` are ignored.
    """

    data: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    where: str | None = None  # its name in error messages

    @classmethod
    def parse(cls, text: str, where: str) -> ConfigFile:
        """From the text of the file; ConfigError for what is not TOML or not such a file."""
        document = read_toml(text, where)
        known = ("data", "train")
        for name, section in document.items():
            if name not in (*known, "run", "versions"):
                raise ConfigError(
                    f"{where} has {name!r} at the top level, expected sections [data] and [train]",
                    hint=did_you_mean(name, known) or "put options below [data] or [train]",
                )
            if not isinstance(section, dict):
                raise ConfigError(f"{where} has {name!r} as a value, expected a section [{name}]")
        return cls(document.get("data", {}), document.get("train", {}), where)

    @classmethod
    def read(cls, path: str | Path) -> ConfigFile:
        """From a file; ConfigError also if it cannot be read."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text") from error
        return cls.parse(text, str(path))

    def under(self, flags: Mapping[str, Any]) -> dict[str, Any]:
        """The `[train]` options, overridden by the flags that are not None."""
        options = {**self.train.get("options", {}), **(flags.get("options") or {})}
        merged = {**self.train, **{k: v for k, v in flags.items() if v is not None}}
        return {**merged, "options": options} if options else merged


def read_toml(text: str, where: str) -> dict[str, Any]:
    """A TOML document; ConfigError with line and column when it is not one."""
    try:
        return dict(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"{where} is not valid TOML: {reason}") from error
