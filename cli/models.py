"""`advrec models`: what can be trained, where it can be perturbed, and what its paper fixes."""

from __future__ import annotations

from advrec_cli.console import emit_json, show, table
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, takes

EPILOG = examples(
    "advrec models",
    "advrec models --json  # names, sites, norms and defaults for a program",
    "advrec pretrain --model lightgcn  # train one of them",
)


def _described() -> list[dict[str, object]]:
    from advrec.models import MODELS

    return [
        {
            "name": name,
            "about": model.about,
            "sites": [
                {"name": site.name, "about": site.about, "norms": list(site.norms)}
                for site in model.sites
            ],
            "defaults": dict(model.defaults),
            "needs_features": model.needs_features,
        }
        for name, model in MODELS.items()
    ]


@takes()
def models(_: Given, *, json: Json = False) -> None:
    """List the models: what each is, the sites that can be perturbed, and its own defaults.

    A site is a place in the model where noise is added (--site); its norms say what has length ε
    there (--norm), the first being the default. The defaults are those of the model's paper or
    code; flags and configuration files win over them.
    """
    described = _described()
    if json:
        emit_json({"models": described})
        return
    from rich.markup import escape

    made = table(["model", "site", "norms", "what it is"], left=4)
    made.columns[1].no_wrap = made.columns[2].no_wrap = True
    for entry in described:
        sites = entry["sites"]
        assert isinstance(sites, list)
        needs = "; needs item features (--features)" if entry["needs_features"] else ""
        made.add_row(f"[bold cyan]{entry['name']}[/]", "", "", escape(f"{entry['about']}{needs}"))
        for site in sites:
            made.add_row("", site["name"], ", ".join(site["norms"]), escape(site["about"]))
        made.add_row("", "[dim]defaults[/]", "", f"[dim]{escape(_defaults(entry))}[/]")
        made.add_section()
    show(made)


def _defaults(entry: dict[str, object]) -> str:
    defaults = entry["defaults"]
    assert isinstance(defaults, dict)
    return ", ".join(f"{name} {value}" for name, value in defaults.items()) or "the general ones"
