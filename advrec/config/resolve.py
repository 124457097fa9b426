"""From options as given to options with nothing left open, checked against the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advrec.config.train import OptionValue, ResolvedConfig, TrainConfig
from advrec.errors import ConfigError
from advrec.evaluation.metrics import metric_specs
from advrec.validation import did_you_mean, parse

if TYPE_CHECKING:
    from advrec.models.base import Recommender


def resolve(config: TrainConfig, model: type[Recommender]) -> ResolvedConfig:
    """Fill in every open option: what was given, the model's own defaults, the general ones.

    Raises ConfigError for options that the model or the phase cannot use (layers for a model
    without any, a perturbation in pretraining), UsageError for a site or norm it does not have.
    """
    given = config.given()
    if config.phase == "pretrain":
        for name in ("eps", "adv_weight", "site_eps", "site_adv_weight"):
            if given.get(name):
                raise ConfigError(
                    f"Option {name!r} is {given[name]}, but pretraining perturbs nothing.",
                    hint="advrec pretrain first, then advrec adv-train --eps 0.5",
                )
        given |= {"eps": 0.0, "adv_weight": 0.0, "site_eps": {}, "site_adv_weight": {}}
    if given.get("layers") and "layers" not in model.defaults:
        raise ConfigError(
            f"Option 'layers' is {given['layers']}, but the model {model.name!r} has no layers.",
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
        given[name] = _of_sites(model, names, name, given.get(name, {}))
    if config.metric is not None:
        metric_specs((config.metric,), (20,))  # UsageError for a figure that does not exist
    values = {**model.defaults, **given, "site": "+".join(names), "norm": norm, "model": model.name}
    values["options"] = _model_options(model, config.options)
    if isinstance(config.lr, dict):
        values["lr"] = _rates(model, config.lr)
    return parse(ResolvedConfig, values, f"the options of {model.name!r}")


def _rates(model: type[Recommender], given: Mapping[str, float]) -> dict[str, float]:
    """A learning rate for each table of a model: what was given over the model's own."""
    own = model.defaults.get("lr")
    if not isinstance(own, Mapping):
        raise ConfigError(
            f"Option 'lr' names {', '.join(given)}, but the model {model.name!r} has one rate"
            " for all.",
            hint="give a single number",
        )
    for name in given:
        if name not in own:
            raise ConfigError(
                f"Option 'lr' names {name!r}; the model {model.name!r} has {', '.join(own)}.",
                hint=did_you_mean(name, own),
            )
    return {**own, **given}


def _of_sites(
    model: type[Recommender], names: list[str], option: str, given: Mapping[str, float]
) -> dict[str, float]:
    """What single sites have of their own, by their own names; ConfigError for another site."""
    found = {model.site(name).name: value for name, value in given.items()}
    for name in found:
        if name not in names:
            raise ConfigError(
                f"Option {option!r} names the site {name!r}, but what is perturbed is "
                f"{', '.join(names)}.",
                hint=f"--site {'+'.join([*names, name])}",
            )
    return found


def _model_options(
    model: type[Recommender], given: Mapping[str, OptionValue]
) -> dict[str, OptionValue]:
    """The options that only this model has, those left open filled in from `model.options`."""
    known: Mapping[str, OptionValue] = getattr(model, "options", {})
    for name in given:
        if name not in known:
            raise ConfigError(
                f"The model {model.name!r} has no option {name!r}.",
                hint=did_you_mean(name, known) or f"it has {', '.join(known) or 'none of its own'}",
            )
    return {**known, **given}
