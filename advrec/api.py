"""What `import advrec` offers: train, attack, evaluate, recommend, export, on runs and data sets.

A data set is a `Dataset`, a `DataConfig`, or a name or path. Given in one of the last two ways,
how it was made is saved with the run, and later calls on that run need no data set at all.
A run is a `Run`, the path of its folder, or its name below `runs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from advrec import session
from advrec.attack import AttackResult
from advrec.attack import attack as attack_model
from advrec.build import load_model
from advrec.config import TrainConfig, parse
from advrec.data import DataConfig, Dataset
from advrec.errors import ConfigError, UsageError
from advrec.evaluate import Evaluation
from advrec.evaluate import evaluate as evaluate_model
from advrec.export import export_vectors
from advrec.models import Recommender
from advrec.recommend import Recommendation
from advrec.recommend import recommend as recommend_from
from advrec.runs import Run
from advrec.shelf import RUNS, find, newest_pretraining
from advrec.train import Event, OnEvent
