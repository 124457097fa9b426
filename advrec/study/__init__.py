"""A study: models × data sets × seeds, before and after adversarial training, as one table.

- spec: the format of a study file
- expand: from the file to its cells
- plan: a cell, that is one training and its measurements
- cell: making a cell, in its own process
- schedule: which cell runs when
- results: means over seeds and paired tests of the finished cells
- verdict: the results in sentences
- table, figures: the results as tables and figures
- run: from a study file to all of these
"""

from __future__ import annotations

from advrec.study.run import StudyResult, run_study
from advrec.study.schedule import StudyEvent
from advrec.study.spec import StudySpec, read_study

__all__ = ["StudyEvent", "StudyResult", "StudySpec", "read_study", "run_study"]
