"""`advrec models`: what can be trained, where it can be perturbed, and its own defaults."""

from __future__ import annotations

from typing import Any

from advrec_cli.console import emit_json, show, table
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, takes

EPILOG = examples(
    "advrec models",
    "advrec models --json  # names, sites, norms and defaults for a program",
    "advrec pretrain --model lightgcn  # train one of them",
)


def _described() -> list[dict[str, Any]]:
    from advrec.models import MODELS

    return [
        {
            "name": name,
            "about": model.about,
            "sites": [
                {"name": site.name, "about": site.about, "norms": list(site.norms)}
                for site in model.sites
            ],
            "combinations": {key: list(sites) for key, sites in model.combinations.items()},
            "defaults": dict(model.defaults),
            "adversarial_defaults": dict(model.adversarial_defaults),
            "options": dict(model.options),
            "needs_features": model.needs_features,
        }
        for name, model in MODELS.items()
    ]


@takes()
def models(_: Given, *, json: Json = False) -> None:
    """List the models: what each is, the sites that can be perturbed, and its own defaults.

    A site is a place in the model where noise is added (--site). Its norms are what can have norm ε
    there (--norm); the first is the default. The default options are those of the model's paper or
    code; configuration files and flags override them.
    """
    described = _described()
    if json:
        emit_json({"models": described})
        return
    from rich.markup import escape

    about = "what it is"
    rows = table(["model", "site", "norms", about], left=3, wrap=[about])
    for entry in described:
        needs = "; needs item features (--features)" if entry["needs_features"] else ""
        rows.add_row(f"[bold cyan]{entry['name']}[/]", "", "", escape(f"{entry['about']}{needs}"))
        for site in entry["sites"]:
            rows.add_row("", site["name"], ", ".join(site["norms"]), escape(site["about"]))
        for combination, names in entry["combinations"].items():
            rows.add_row("", combination, "", escape(f"the sites {' + '.join(names)}"))
        rows.add_row("", "[dim]defaults[/]", "", f"[dim]{escape(_listed(entry['defaults']))}[/]")
        if entry["adversarial_defaults"]:
            text = f"[dim]{escape(_listed(entry['adversarial_defaults']))}[/]"
            rows.add_row("", "[dim]adv-train --from[/]", "", text)
        if entry["options"]:
            text = f"[dim]{escape(_listed(entry['options']))} (--option NAME=VALUE)[/]"
            rows.add_row("", "[dim]own options[/]", "", text)
        rows.add_section()
    show(rows)


def _listed(options: dict[str, Any]) -> str:
    from advrec.config.train import written

    return ", ".join(f"{name} {written(value)}" for name, value in options.items())
