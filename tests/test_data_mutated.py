"""Changed and damaged files of every form are read whole or refused in a sentence."""

from __future__ import annotations

import pytest
from support.fuzzed_forms import ARROW_FORMS, FORMS, ROWS, check

from advrec.data import DataConfig
from advrec.data.load import read_interactions


@pytest.mark.parametrize("form", [*FORMS, *ARROW_FORMS])
def test_500_changed_files_end_in_no_traceback(tmp_path, form):
    if form in ARROW_FORMS:
        pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    read, refused = check(form, 500, 1, tmp_path)
    assert read + refused == 500
    assert refused > 100  # the changes do reach the reader


@pytest.mark.parametrize("form", [*FORMS, *ARROW_FORMS])
def test_the_file_that_is_changed_is_sound(tmp_path, form):
    if form in ARROW_FORMS:
        pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    name, content = {**FORMS, **ARROW_FORMS}[form]
    (tmp_path / name).write_bytes(content())
    rows = read_interactions(DataConfig.of(str(tmp_path / name)))
    assert rows.timestamps is not None
    assert rows.timestamps.tolist() == [row["time"] for row in ROWS]
