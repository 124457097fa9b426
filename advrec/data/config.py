"""Which data, and what is done to it before training. Every field is saved with a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from advrec.choices import Format, Split, Validation
from advrec.validation import parse


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
    rating_col: str | None = Field(None, description="Rating column.")
    timestamp_col: str | None = Field(None, description="Timestamp column.")
    separator: str | None = Field(
        None, min_length=1, description="Column separator; a blank means any run of blanks."
    )
    features: str | None = Field(
        None, description="Item features: .npy, .npz, a table, or text: from the items' text."
    )
    item_names: str | None = Field(None, description="Table of item ids and their names.")

    @classmethod
    def of(cls, data: str = "debian", /, **options: object) -> DataConfig:
        """Check options that a caller typed. Raises ConfigError naming the option and the value."""
        return parse(cls, {"data": str(data), **options}, "the data options")

    def with_features(self) -> DataConfig:
        """The same for a model that needs item features: by default from an embedded set's text."""
        from advrec.data.sources.embedded import EMBEDDED

        if self.features is not None or self.data not in EMBEDDED:
            return self
        return self.model_copy(update={"features": "text"})
