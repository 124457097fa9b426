"""One audit: everything that is measured of some models on one data set, as one JSON document.

The page (`advrec.report.html`) and the tables on the screen (`advrec.report.audit`) are made from
the document alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np

from advrec.auditing import curve, damage
from advrec.auditing.attacks import Attacked, attacks_on
from advrec.auditing.flags import FLAGS, flags
from advrec.auditing.verdict import verdict
from advrec.choices import Part
from advrec.errors import UsageError
from advrec.report.html import page
from advrec.robustness.certify import CERTIFIED, Certificate, certify, threat_of
from advrec.robustness.practical import PracticalResult, practical, vectors_of
from advrec.runs.subject import Stale, Subject
from advrec.system import files
from advrec.system.machine import machine
from advrec.versions import VERSION

RHO: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
EPS: Final = (0.1, 0.2, 0.5, 1.0)
QUICK_RHO: Final = (0.01, 0.05, 0.2)
QUICK_EPS: Final = (0.5,)
HEADLINE: Final = 0.05
NOISE: Final = ("float16", "bf16", "int8", "int4", "dropout-rows:1%", "gaussian-dp:8")

Say = Callable[[str], None]


@dataclass(frozen=True)
class AuditOptions:
    """What is measured, and how. Budgets ascend; the headline is one of the relative ones."""

    rho: tuple[float, ...] = RHO
    eps: tuple[float, ...] = EPS
    headline: float = HEADLINE
    site: str | None = None  # None: the first with a certificate, or else the model's first
    noise: tuple[str, ...] = NOISE
    k: int = 20
    part: Part = "test"
    seed: int = 0
    quick: bool = False  # leave out the attacks that take long

    def __post_init__(self) -> None:
        if not self.rho:
            raise UsageError("an audit needs at least one relative budget, got none")
        for name in ("rho", "eps"):
            sizes = getattr(self, name)
            for size in sizes:
                if not 0 < size < math.inf:
                    raise UsageError(f"{name} must be a finite number above 0, got {size}")
            object.__setattr__(self, name, tuple(sorted(set(sizes))))
        if self.headline not in self.rho:
            nearest = min(self.rho, key=lambda size: abs(math.log(size / self.headline)))
            object.__setattr__(self, "headline", nearest)

    @property
    def metric(self) -> str:
        """The figure that everything is about."""
        return f"NDCG@{self.k}"


def audit(
    subjects: Sequence[Subject],
    options: AuditOptions,
    *,
    stale: Sequence[Stale | None] = (),
    commands: Sequence[str] = (),
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Measure every subject and return the document.

    Args:
        subjects: runs or vectors, all on the same data.
        stale: for each subject, older vectors to serve one side from; () for none.
        commands: what to type to make the same document, for the reader.
        say: told what is being done.

    Raises:
        UsageError: no subjects, different data, or an option that a model does not have.
    """
    if not subjects:
        raise UsageError("an audit needs at least one run or pair of vectors, got none")
    digests = {subject.dataset.digest for subject in subjects}
    if len(digests) > 1:
        raise UsageError(
            "the runs were made from different data, so their figures cannot stand in one report",
            hint="audit the runs of one data set at a time",
        )
    began = time.perf_counter()
    older = list(stale) or [None] * len(subjects)
    documents = [
        _audited(subject, options, old, say) for subject, old in zip(subjects, older, strict=True)
    ]
    seconds = time.perf_counter() - began
    dataset = subjects[0].dataset
    measured = len(dataset.test if options.part == "test" else dataset.valid)
    return {
        "advrec": VERSION,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "metric": options.metric,
        "part": options.part,
        "k": options.k,
        "headline": options.headline,
        "data": {
            "name": dataset.name,
            "digest": dataset.digest,
            "users": dataset.n_users,
            "items": dataset.n_items,
            "train": len(dataset.train),
        },
        "subjects": documents,
        "checked": list(FLAGS),
        "protocol": [
            ["data", f"{dataset.name}, {dataset.n_users:,} users, {dataset.n_items:,} items"],
            ["data digest", dataset.digest],
            ["split", dataset.split or "as the files give it"],
            ["measured on", f"the {options.part} part, {measured:,} held-out pairs"],
            ["ranking", "all items that the user is not known to have; ties count against"],
            ["metric", f"{options.metric}, mean over users with held-out items"],
            ["threat model", "every row of users and items may move (side both, norm row)"],
            ["relative budget", "ρ‖p_u‖ for user u, ρ·q̄ for every item, q̄ the exposure-weighted"
             " mean item norm; in canonical form where the rows are the vectors themselves"],
            ["absolute budget", "ε, the L2 norm of each row's change"],
            ["seed", str(options.seed)],
            ["machine", f"{machine()}; {seconds:.0f} s"],
        ],
        "commands": list(commands),
    }  # fmt: skip


def write_report(document: dict[str, Any], path: str | Path) -> tuple[Path, Path]:
    """Write the report as HTML and the document next to it as JSON; each whole or not at all.

    Raises UsageError for an ending other than .html, RunError for a path that cannot be written.
    """
    path = Path(path)
    check_report(path)
    copy = path.with_suffix(".json")
    document["json"] = copy.name
    content = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    files.write(copy, content + "\n")
    files.write(path, page(document))
    return path, copy


def check_report(path: Path) -> None:
    """UsageError unless the path ends in .html."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"{path} must end in .html", hint=f"for example {path.with_suffix('.html')}"
        )


def _audited(
    subject: Subject, options: AuditOptions, stale: Stale | None, say: Say
) -> dict[str, Any]:
    """Everything about one subject."""
    site = options.site or next(iter(CERTIFIED.get(subject.model.name, {})), None)
    site = subject.model.site(site).name
    say(f"{subject.name}: certificates")
    certificates, refused = _certificates(subject, site, options)
    say(f"{subject.name}: attacks at {len(options.rho)} relative, {len(options.eps)} absolute"
        " budgets")  # fmt: skip
    attacked = attacks_on(
        subject.model,
        subject.dataset,
        site,
        rho=options.rho,
        eps=options.eps,
        k=options.k,
        part=options.part,
        seed=options.seed,
        quick=options.quick,
        say=say,
    )
    say(f"{subject.name}: practical noise")
    noises, no_vectors = _practical(subject, options, stale)
    metric, clean = options.metric, dict(attacked.clean.values)
    points = {
        kind: _points(kind, getattr(options, kind), attacked, certificates.get(kind), metric)
        for kind in ("rho", "eps")
    }
    document: dict[str, Any] = {
        "name": subject.name,
        "model": subject.kind,
        "trained": subject.trained,
        "site": site,
        "clean": clean,
        "quick": options.quick,
        "row_norm": _row_norm(subject, site),
        **points,
        "area": {}, "half": {},
        "members": [member.to_dict(attacked.clean, metric) for member in attacked.members],
        "certificate": _about(certificates.get("rho"), refused, attacked, metric),
        "practical": [
            {**noise.to_dict(), **_about_noise(noise, stale)} for noise in noises
        ],
        "practical_refused": no_vectors,
        "origin": _origin(subject, site),
        **_damage(subject, options, attacked, certificates.get("rho")),
    }  # fmt: skip
    for name in ("certified", "oracle", "label_free"):
        values = [point.get(name) for point in points["rho"]]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        figures = (options.rho, known, clean[metric])
        for key, of_curve in (("area", curve.area), ("half", curve.half)):
            document[key][name] = _finite(of_curve(*figures)) if whole else None
    document["flags"] = flags(document, metric)
    document["verdict"] = verdict(document, metric, options.headline)
    return document


def _certificates(
    subject: Subject, site: str, options: AuditOptions
) -> tuple[dict[str, Certificate], str | None]:
    """By kind of budget; or why there are none."""
    sizes = {kind: getattr(options, kind) for kind in ("rho", "eps")}
    common: dict[str, Any] = {"site": site, "k": options.k, "part": options.part}
    try:
        threat_of(subject.model, site, "both")
    except UsageError as error:
        return {}, str(error)
    return {
        kind: certify(subject.model, subject.dataset, **{kind: budgets}, **common)
        for kind, budgets in sizes.items()
        if budgets
    }, None


def _practical(
    subject: Subject, options: AuditOptions, stale: Stale | None
) -> tuple[list[PracticalResult], str | None]:
    """Every kind of practical noise; or why there is none."""
    try:
        vectors = vectors_of(subject.model)
    except UsageError as error:
        return [], str(error)
    kinds = [kind for kind in options.noise if kind != "staleness" or stale is not None]
    if stale is not None and "staleness" not in kinds:
        kinds.append("staleness")
    results = practical(
        vectors,
        subject.dataset,
        kinds,
        stale=None if stale is None else stale.vectors,
        stale_side="items" if stale is None else stale.side,
        k=options.k,
        part=options.part,
        seed=options.seed,
    )
    return results, None


def _points(
    kind: str,
    sizes: Sequence[float],
    attacked: Attacked,
    certificate: Certificate | None,
    metric: str,
) -> list[dict[str, Any]]:
    """One entry for each budget: the certified figure and those under the attacks."""
    points = []
    for size in sizes:
        point: dict[str, Any] = {"budget": size, "certified": None}
        if certificate is not None:
            point["certified"] = certificate.at(size)[metric]
            if certificate.raw is not None:
                point["certified_raw"] = certificate.at(size, certificate.raw)[metric]
        points.append({**point, **attacked.figures(kind, size, metric)})
    return points


def _about(
    certificate: Certificate | None, refused: str | None, attacked: Attacked, metric: str
) -> dict[str, Any]:
    """The certificate in words and numbers."""
    if certificate is None:
        return {"refused": refused}
    inside = certificate.radii.stays > 0
    violated = attacked.violations(certificate, metric)
    return {
        "site": certificate.site,
        "exact": certificate.exact,
        "floored": certificate.floored,
        "median_radius": _finite(certificate.median_radius),
        "hits": int(inside.sum()),
        "users": len(certificate.per_user(0.0)[metric]),
        "violations": violated,
    }


def _about_noise(noise: PracticalResult, stale: Stale | None) -> dict[str, str]:
    """Which older vectors were served."""
    if noise.kind != "staleness" or stale is None:
        return {}
    return {"side": stale.side, "of": stale.name}


def _damage(
    subject: Subject, options: AuditOptions, attacked: Attacked, certificate: Certificate | None
) -> dict[str, Any]:
    """Whom the worst label-free noise at the headline budget hits."""
    dataset, part, metric = subject.dataset, options.part, options.metric
    hit = attacked.worst("rho", options.headline, "label_free", metric)
    if hit is None:
        return {"groups": [], "worst_items": [], "worst_users": []}
    before = damage.top_lists(subject.model, dataset, None, part, options.k)
    after = hit.lists(dataset, part, options.k)
    both = attacked.clean, hit.evaluation
    return {
        "groups": damage.groups(dataset, part, metric, *both, before, after),
        "worst_items": damage.worst_items(dataset, before, after, _radii(certificate)),
        "worst_users": damage.worst_users(dataset, metric, *both, before, after),
    }


def _radii(certificate: Certificate | None) -> dict[int, float]:
    """The median radius of the hits of each item."""
    if certificate is None:
        return {}
    inside = certificate.radii.stays > 0
    items, radii = certificate.radii.items[inside], certificate.radii.stays[inside]
    order = np.lexsort((radii, items))
    distinct, first, counts = np.unique(items[order], return_index=True, return_counts=True)
    sorted_radii = radii[order]
    low, high = first + (counts - 1) // 2, first + counts // 2
    middle = (sorted_radii[low] + sorted_radii[high]) / 2
    return dict(zip(distinct.tolist(), middle.tolist(), strict=True))


def _row_norm(subject: Subject, site: str) -> float:
    """The mean row norm of what is perturbed."""
    norms = [rows.double().norm(dim=-1) for rows in subject.model.tables(site).values()]
    return float(sum(n.sum() for n in norms) / sum(n.numel() for n in norms))


def _origin(subject: Subject, site: str) -> list[list[str]]:
    """Where the model comes from, as names and values."""
    lines = [["site of noise", site]]
    if subject.run is not None:
        run = subject.run
        config = run.config
        lines += [
            ["run", str(run.path)],
            ["model", f"{config.model}, {config.dim} dimensions, {config.phase}"],
            ["epoch", f"{run.progress.best_epoch} (best by validation)"],
            ["seed of training", str(config.seed)],
        ]
        if run.origin.parent is not None:
            lines.append(["started from", f"{run.origin.parent}, epoch {run.origin.parent_epoch}"])
    for table, what in zip(subject.vectors or (), ("users", "items"), strict=False):
        lines.append([what, f"{table.path}, {table.rows.shape[1]} dimensions"])
        lines.append([f"sha256 of {what}", table.sha256])
    return lines


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
