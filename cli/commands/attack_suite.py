"""Suites of attacks, noise from files and targeted noise, for `advrec attack`."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advrec_cli import inputs
from advrec_cli.console import emit_json, note, plain, show_reports
from advrec_cli.options import Given

if TYPE_CHECKING:
    from advrec.config.file import ConfigFile
    from advrec.models.base import Noise
    from advrec.report.table import Table
    from advrec.robustness.attack import AttackResult
    from advrec.robustness.promotion import Promotion
    from advrec.robustness.suite import SuiteResult
    from advrec.runs.subject import Subject


@dataclass(frozen=True)
class Common:
    """What every kind of attack takes from the command line."""

    given: Given
    file: ConfigFile
    runs: Sequence[str]
    users: Path | None
    items: Path | None
    runs_dir: Path
    sizes: dict[str, list[float]]  # "eps" or "rho"; empty: the usual ones
    side: str
    sites: list[str] | None
    norm: str | None
    metrics: list[str] | None
    ks: list[int]
    part: str
    seed: int
    json: bool
    out: Path | None
    quiet: bool

    def subjects(self, device: str) -> Iterator[Subject]:
        """The runs, or vectors from elsewhere, one by one."""
        loader = inputs.Loader(self.given, self.file, device)
        yield from inputs.subjects(
            self.runs,
            self.users,
            self.items,
            loader=loader,
            runs_dir=self.runs_dir,
            quiet=self.quiet,
        )

    @property
    def site(self) -> str | None:
        """The one site; UsageError for several."""
        from advrec.errors import UsageError

        if self.sites is not None and len(self.sites) != 1:
            raise UsageError(f"a suite takes one --site, got {', '.join(self.sites)}")
        return None if self.sites is None else self.sites[0]

    def check_one(self, save: Path, sizes: Sequence[float]) -> None:
        """UsageError unless one run is attacked at one budget: a file holds one noise."""
        from advrec.errors import UsageError

        one = self.users is not None or len(self.runs) == 1
        if not one or len(sizes) != 1 or len(self.sites or ["one"]) != 1:
            raise UsageError(
                f"--save-noise {save} writes one noise",
                hint="name one RUN, one --site and one budget, such as --eps 0.5",
            )


def suites(
    common: Common, suite: str, *, grid: bool, load: Sequence[Path], save: Path | None
) -> None:
    """Make a suite on every run, print it, keep it."""
    from advrec.errors import UsageError
    from advrec.report.suite import suite_tables
    from advrec.robustness.flags import raised_between
    from advrec.robustness.noise_file import check_noise_path, read_noise, write_noise
    from advrec.robustness.suite import METRICS, RHO, run_suite, usual_site
    from advrec.runs.results import facts_of, suite_document, write_suite

    sizes = common.sizes or {"rho": list(RHO)}
    (unit,) = sizes
    site = common.site
    if save is not None:
        check_noise_path(save)
        common.check_one(save, sizes[unit])
    results: list[tuple[Subject, SuiteResult]] = []
    with inputs.computing(common.given, common.file) as device:
        for subject in common.subjects(device):
            what = f"suite {suite}" if suite else "noise from files"
            note(f"{subject.name}: {what}, {listed(unit, sizes[unit])}", quiet=common.quiet)
            place = site or usual_site(subject.model)
            loaded: dict[str, Noise] = {
                str(path): read_noise(path, subject.model, place) for path in load
            }
            result = run_suite(
                subject.model,
                subject.dataset,
                suite=suite,
                **sizes,  # type: ignore[arg-type]
                site=place,
                norm=common.norm,
                side=common.side,
                part=common.part,  # type: ignore[arg-type]
                ks=common.ks,
                metrics=common.metrics or METRICS,
                seed=common.seed,
                loaded=loaded,
                with_grid=grid,
                say=lambda text: note(f"  {text}", quiet=common.quiet),
            )
            results.append((subject, result))
            if subject.run is not None and suite:
                note(f"  kept in {write_suite(subject.run, result)}", quiet=common.quiet)
            if save is not None:
                worst = result.levels[-1].worst
                if worst.noise is None:
                    raise UsageError("the suite kept no noise to save")
                about = {**_about(subject, result.site, unit, worst.size), "member": worst.name}
                write_noise(save, worst.noise, subject.model, result.site, about)
                note(f"  noise of '{worst.name}' in {save}", quiet=common.quiet)
    between = raised_between([facts_of(s, r.row_norm) for s, r in results], unit)
    document = suite_document(results)
    for entry in document["runs"]:
        entry["flags"] += between.get(entry["run"], [])
    tables = suite_tables([(s.name, r) for s, r in results], between)
    _present(common, document, tables)
    broken = [s.name for s, r in results if r.violations]
    if broken:
        from advrec.errors import AdvrecError

        raise AdvrecError(
            f"attacks on {', '.join(broken)} left users less than is certified, which is a bug in"
            " advrec",
            hint="please report it with the output above",
        )


def promotions(common: Common, targets: Mapping[str, Sequence[str]]) -> None:
    """Promote and demote items of every run, and print their exposure."""
    from advrec.errors import UsageError
    from advrec.report.suite import promotion_table
    from advrec.robustness.promotion import promote

    if common.side == "users":
        raise UsageError("--promote and --demote move rows of items, got --side users")
    sizes = common.sizes or {"eps": [0.5, 1.0, 2.0]}
    (unit,) = sizes
    results: list[tuple[str, list[Promotion]]] = []
    with inputs.computing(common.given, common.file) as device:
        for subject in common.subjects(device):
            made_here: list[Promotion] = []
            for goal, items in targets.items():
                if not items:
                    continue
                shown = f"{len(items)} item{'s' * (len(items) > 1)}"
                note(f"{subject.name}: {goal} {shown}, {listed(unit, sizes[unit])}",
                     quiet=common.quiet)  # fmt: skip
                made_here += promote(
                    subject.model,
                    subject.dataset,
                    items,
                    goal=goal,
                    **sizes,
                    site=common.site,
                    norm=common.norm,
                    k=common.ks[0],
                    part=common.part,  # type: ignore[arg-type]
                )
            results.append((subject.name, made_here))
    document = {
        "runs": [
            {"run": name, "results": [each.to_dict() for each in of_run]}
            for name, of_run in results
        ]
    }
    _present(common, document, [promotion_table(results)])


def save_worst(
    subject: Subject, results: Sequence[AttackResult], path: Path, *, quiet: bool
) -> None:
    """Write the noise of single attacks on one run that does most harm by the first metric."""
    from advrec.robustness.noise_file import write_noise

    metric = next(iter(results[0].clean.values))
    worst = min(results, key=lambda result: result.attacked.values[metric])
    assert worst.noise is not None
    site = str(worst.plan.site)
    about = _about(subject, site, worst.unit, worst.eps)
    write_noise(path, worst.noise, subject.model, site, about)
    note(f"  noise in {path}", quiet=quiet)


def listed(unit: str, sizes: Sequence[float]) -> str:
    """`ε = 0.5, 1` or `ρ = 1, 5 %`."""
    if unit == "rho":
        return f"ρ = {', '.join(f'{100 * size:.4g}' for size in sizes)} %"
    return f"ε = {', '.join(f'{size:g}' for size in sizes)}"


def _about(subject: Subject, site: str, unit: str, size: float) -> dict[str, Any]:
    return {
        "name": subject.name,
        "model": subject.kind,
        "data_digest": subject.dataset.digest,
        "site": site,
        unit: size,
    }


def _present(common: Common, document: dict[str, Any], tables: list[Table]) -> None:
    """Tables or JSON on stdout, and the file that was asked for."""
    from advrec.report.table import write_tables
    from advrec.system import files

    content = plain(document)
    if common.json:
        emit_json(content)
    else:
        show_reports(tables)
    if common.out is not None and common.out.suffix.lower() == ".json":
        files.write(common.out, json_text.dumps(content, indent=2) + "\n")
    elif common.out is not None:
        write_tables(tables, common.out)
