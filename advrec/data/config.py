"""Which data, and what is done to it before training. Every field is saved with a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advrec.choices import Format, Header, Split, Validation
from advrec.errors import ConfigError

TABLE_OPTIONS = (  # those that say how a table is to be read
    "user_col",
    "item_col",
    "rating_col",
    "timestamp_col",
    "separator",
    "header",
    "time_format",
    "drop_incomplete",
)


class DataConfig(BaseModel):
    """The data options of every command; `advrec data inspect` shows what they would do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field("debian", min_length=1, description="Embedded or downloaded set, or a path.")
    format: Format = Field("auto", description="Format of the files; auto looks at them.")
    split: Split = Field(
        "auto",
        description="auto: the given one where the files are one, else loo-random for the embedded "
        "set, loo-time where there are timestamps, else random.",
    )
    test_ratio: float = Field(0.2, gt=0, lt=1, description="Test share (random, global-time).")
    valid_ratio: float = Field(
        0.1, gt=0, lt=1, description="Validation share of what is left for training."
    )
    valid: Validation = Field(
        "auto", description="none: no validation part, train on those pairs too."
    )
    split_seed: int = Field(0, ge=0, description="Seed of random splits.")
    k_core: int = Field(0, ge=0, description="Keep users and items with at least k pairs.")
    min_rating: float | None = Field(None, description="Drop interactions rated lower.")
    user_col: str | None = Field(None, description="User column: its name, or its number from 1.")
    item_col: str | None = Field(None, description="Item column.")
    rating_col: str | None = Field(None, description="Rating column; none: there is none.")
    timestamp_col: str | None = Field(None, description="Timestamp column; none: there is none.")
    separator: str | None = Field(
        None, min_length=1, description="Column separator; a blank means any run of blanks."
    )
    features: str | None = Field(
        None, description="Item features: .npy, .npz, a table, or text: from the items' text."
    )
    item_names: str | None = Field(None, description="Table of item ids and their names.")
    header: Header | None = Field(
        None, description="Whether the first line of a table names its columns; None: found."
    )
    time_format: str | None = Field(
        None, min_length=1, description="Form of the dates, as strptime has it: %d/%m/%Y."
    )
    drop_incomplete: bool = Field(
        False, description="Drop rows without a user, item, rating or timestamp, and count them."
    )

    @classmethod
    def of(cls, data: str = "debian", **options: object) -> DataConfig:
        """Check options that a caller typed. Raises ConfigError naming the option and the value."""
        try:
            return cls.model_validate({"data": str(data), **options})
        except ValidationError as error:
            raise ConfigError(_sentence(error), hint=_hint(error)) from None

    def with_features(self) -> DataConfig:
        """The same for a model that needs item features: by default from an embedded set's text."""
        from advrec.data.sources.embedded import EMBEDDED

        if self.features is not None or self.data not in EMBEDDED:
            return self
        return self.model_copy(update={"features": "text"})


def _sentence(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        name = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"no data option is called {name!r}")
        else:
            reason = problem["msg"].replace("Input should be", "wanted")
            parts.append(f"data option {name}: found {problem['input']!r}, {reason}")
    return "; ".join(parts)


def _hint(error: ValidationError) -> str | None:
    if any(problem["type"] == "extra_forbidden" for problem in error.errors()):
        return "the data options are " + ", ".join(DataConfig.model_fields)
    return None
