"""A study: models × data sets × seeds, before and after adversarial training, as one table.

- spec: what a study file may say
- expand: from the file to the cells that it asks for
- plan: a cell, one training and its measurements
- cell: making one, in a process of its own
- schedule: which cell runs when, and where it resumes
- results: what finished cells say together, means over seeds and paired tests
- verdict: the same in sentences
- table, figures: the same to look at
- run: all of it, from a study file to the tables
"""

from __future__ import annotations

from advrec.study.run import StudyResult, run_study
from advrec.study.schedule import StudyEvent
from advrec.study.spec import StudySpec, read_study

__all__ = ["StudyEvent", "StudyResult", "StudySpec", "read_study", "run_study"]
