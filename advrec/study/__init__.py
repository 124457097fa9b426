"""A study: models × data sets × seeds, before and after adversarial training, as one table.

    spec      what a study file may say
    plan      the cells that it asks for: one training and its measurements each
    cell      one cell, in a process of its own
    schedule  which cell runs when, and where it resumes
    results   what finished cells say together: means over seeds, paired tests
    verdict   the same in sentences
    table     the same as Markdown, JSON and figures
    run       all of it, from a study file to the tables
"""

from __future__ import annotations

from advrec.study.run import StudyEvent, StudyResult, run_study
from advrec.study.spec import StudySpec, read_study

__all__ = ["StudyEvent", "StudyResult", "StudySpec", "read_study", "run_study"]
