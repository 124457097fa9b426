"""Which data, and what is done to it before training. Every field is saved with a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from advrec.choices import Header, Split, Validation
from advrec.data.readers import FORMATS
from advrec.options import COUNTS, DATA, SEEDS, option, place, plain_text
from advrec.validation import parse

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


def _known(word: str) -> str:
    words = ("auto", *FORMATS)
    if word not in words:
        *first, last = map(repr, words)
        context = {"expected": f"{', '.join(first)} or {last}"}
        raise PydanticCustomError("literal_error", "Input should be {expected}", context)
    return word


Format = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema({"type": "string", "enum": ["auto", *FORMATS]}),
]


def _separates(text: str) -> str:
    """What a separator may be; ValueError in a phrase that follows "must be"."""
    plain_text(text)
    if len(text) > 16 or text in ("\\r", "\\n") or set(text) & set('\r\n\0"'):
        raise ValueError("up to 16 characters without quotes and line ends")
    if len(text) > 1 and text.isspace():
        raise ValueError("one blank or tab, which stands for any number of blanks, or a mark")
    return text


Separator = Annotated[str, AfterValidator(_separates)]
Place = Annotated[str, AfterValidator(place)]
Column = Annotated[str, AfterValidator(plain_text)]


class DataConfig(BaseModel):
    """The data options of every command; `advrec data inspect` shows what they would do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = option(
        "debian",
        "An embedded or downloaded data set ('advrec data list' shows them), or the path of a file"
        " or folder.",
        DATA,
        metavar="NAME|PATH",
        min_length=1,
    )
    format: Format = option("auto", "File format; auto detects it and reports what it saw.", DATA)
    split: Split = option(
        "auto",
        "How train and test are separated: as the files give it, at random per user, one pair per"
        " user held out (the last in time or a random one), or at one point in time. auto: given if"
        " the files are split; otherwise loo-random for the embedded set, loo-time with timestamps,"
        " else random.",
        DATA,
    )
    test_ratio: float = option(
        0.2,
        "Share of the pairs held out for testing, between 0 and 1 (splits random, global-time).",
        DATA,
        gt=0,
        lt=1,
    )
    valid_ratio: float = option(
        0.1,
        "Share of the remaining pairs held out for validation, between 0 and 1.",
        DATA,
        gt=0,
        lt=1,
    )
    valid: Validation = option(
        "auto", "auto holds out a validation part; none trains on those pairs too.", DATA
    )
    split_seed: int = option(0, "Seed of random splits.", DATA, ge=0, lt=SEEDS)
    k_core: int = option(
        0,
        "Drop users and items with fewer pairs than this until none is left to drop; 0 keeps all.",
        DATA,
        ge=0,
        lt=COUNTS,
    )
    min_rating: float | None = option(
        None,
        "Keep only interactions rated at least this.",
        DATA,
        shown="keep all",
        allow_inf_nan=False,
    )
    user_col: Column | None = option(
        None,
        "User column: its name, or its number from 1.",
        DATA,
        shown="detected",
        metavar="COLUMN",
    )
    item_col: Column | None = option(
        None, "Item column, likewise.", DATA, shown="detected", metavar="COLUMN"
    )
    rating_col: Column | None = option(
        None,
        "Rating column, likewise; none: do not read it.",
        DATA,
        shown="detected",
        metavar="COLUMN",
    )
    timestamp_col: Column | None = option(
        None,
        "Timestamp column, likewise; none: do not read it.",
        DATA,
        shown="detected",
        metavar="COLUMN",
    )
    separator: Separator | None = option(
        None,
        "Column separator, such as ',' or '::'; a blank stands for any run of blanks.",
        DATA,
        shown="detected",
        metavar="TEXT",
        min_length=1,
    )
    features: Place | None = option(
        None,
        "Item features: .npy or .npz in item order, a table keyed by item id, or 'text' to compute"
        " them from the items' text.",
        DATA,
        shown="none",
        metavar="PATH",
    )
    item_names: Place | None = option(
        None,
        "Table of item id, tab, name; 'recommend' shows the names.",
        DATA,
        shown="the data set's own",
        metavar="PATH",
    )
    header: Header | None = option(
        None, "Whether the first line of a table names its columns.", DATA, shown="detected"
    )
    time_format: Column | None = option(
        None,
        "Format of the dates as strptime takes it, such as '%d/%m/%Y'.",
        DATA,
        shown="detected",
        metavar="TEXT",
        min_length=1,
    )
    drop_incomplete: bool = option(
        False,
        "Drop rows without a user, item, rating or timestamp, and count them.",
        DATA,
        shown="no",
    )

    @classmethod
    def of(cls, data: str = "debian", /, **options: object) -> DataConfig:
        """Check options that a caller typed. Raises ConfigError naming the option and the value."""
        return parse(cls, {"data": str(data), **options}, "the data options")

    def with_features(self) -> DataConfig:
        """The same for a model that needs item features; an embedded set has them from its text."""
        from advrec.data.sources.embedded import EMBEDDED

        if self.features is not None or self.data not in EMBEDDED:
            return self
        return self.model_copy(update={"features": "text"})
