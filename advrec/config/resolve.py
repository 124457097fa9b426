"""From options as given to a complete set of options, checked against the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advrec.config.train import OptionValue, ResolvedConfig, TrainConfig
from advrec.errors import ConfigError
from advrec.evaluation.metrics import metric_specs
from advrec.validation import did_you_mean, parse

if TYPE_CHECKING:
    from advrec.models.base import Recommender

ADVERSARIAL = ("eps", "adv_weight", "site_eps", "site_adv_weight")
"""Options that pretraining does not have."""


def resolve(
    config: TrainConfig,
    model: type[Recommender],
    inherited: Mapping[str, Any] | None = None,
) -> ResolvedConfig:
    """Fill in every open option: as given, else inherited, else the model's own, else the general.

    `inherited`: options of the run that a training starts from.

    Raises ConfigError for options that the model or the phase cannot use (layers for a model
    without any, a perturbation in pretraining), UsageError for a site, norm or metric that does
    not exist.
    """
    given = _over(inherited or {}, config.explicit())
    if config.phase == "pretrain":
        for name in ADVERSARIAL:
            if given.get(name):
                raise ConfigError(
                    f"{name} is {given[name]}, but pretraining has no perturbation",
                    hint="advrec pretrain first, then advrec adv-train --eps 0.5",
                )
        given |= {"eps": 0.0, "adv_weight": 0.0, "site_eps": {}, "site_adv_weight": {}}
    if given.get("layers") and "layers" not in model.defaults:
        raise ConfigError(
            f"layers is {given['layers']}, but model {model.name!r} has no layers",
            hint="leave it out",
        )
    sites = model.sites_of(given.get("site", model.defaults.get("site")))
    norm = given.get("norm")
    if norm is None:
        norm = str(model.defaults.get("norm", sites[0].norms[0]))
        norm = norm if norm in sites[0].norms else sites[0].norms[0]
    for site in sites:
        model.check_site(site.name, norm)
    names = [site.name for site in sites]
    for name in ("site_eps", "site_adv_weight"):
        given[name] = _by_site(model, names, name, given.get(name, {}))
    if "metric" in given:
        metric_specs((given["metric"],), (20,))  # UsageError for a metric that does not exist
    if isinstance(given.get("lr"), Mapping):
        given["lr"] = _rates(model, given["lr"])
    given["options"] = _model_options(model, given.get("options", {}))
    values = {
        **model.defaults,
        **given,
        "phase": config.phase,
        "model": model.name,
        "site": "+".join(names),
        "norm": norm,
    }
    return parse(ResolvedConfig, values, f"the options of model {model.name!r}")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Options overridden by others; model options and rates of tables that are not named stay."""
    merged = {**below, **above}
    for name in ("options", "lr"):
        if isinstance(below.get(name), Mapping) and isinstance(above.get(name), Mapping):
            merged[name] = {**below[name], **above[name]}
    return merged


def _rates(model: type[Recommender], given: Mapping[str, float]) -> dict[str, float]:
    """A learning rate for each table of a model: what was given over the model's own."""
    own = model.defaults.get("lr")
    if not isinstance(own, Mapping):
        raise ConfigError(
            f"lr names {', '.join(given)}, but model {model.name!r} has one rate for all",
            hint="give a single number",
        )
    for name in given:
        if name not in own:
            raise ConfigError(
                f"lr names {name!r}, but the rates of model {model.name!r} are {', '.join(own)}",
                hint=did_you_mean(name, own),
            )
    return {**own, **given}


def _by_site(
    model: type[Recommender], names: list[str], option: str, given: Mapping[str, float]
) -> dict[str, float]:
    """The values of single sites by the sites' own names; ConfigError for one not perturbed."""
    values = {model.site(name).name: value for name, value in given.items()}
    for name in values:
        if name not in names:
            raise ConfigError(
                f"{option} names site {name!r}, but the perturbed sites are {', '.join(names)}",
                hint=f"--site {'+'.join([*names, name])}",
            )
    return values


def _model_options(
    model: type[Recommender], given: Mapping[str, OptionValue]
) -> dict[str, OptionValue]:
    """The options that only this model has, those left open filled in from `model.options`."""
    known: Mapping[str, OptionValue] = getattr(model, "options", {})
    for name in given:
        if name not in known:
            raise ConfigError(
                f"model {model.name!r} has no option {name!r}",
                hint=did_you_mean(name, known) or f"it has {', '.join(known) or 'none of its own'}",
            )
    return {**known, **given}
