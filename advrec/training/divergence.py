"""Which option to lower when a training diverges: the one that is far from usual, if there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from advrec.config.resolve import resolve
from advrec.config.train import TrainConfig, written
from advrec.models import model_class

if TYPE_CHECKING:
    from advrec.config.train import ResolvedConfig

FAR = 100.0  # times the model's own value of an option
LEAST = {"init_std": 0.1, "reg": 0.01, "eps": 0.5, "adv_weight": 1.0}
"""Taken as usual where the model's own value is smaller or open."""


def advice(config: ResolvedConfig) -> str:
    """A hint: the extreme options, the worst first; without one, the step sizes."""
    usual = resolve(TrainConfig.model_validate({"model": config.model}), model_class(config.model))
    ratios: dict[str, float] = {}
    for name, value in _values(config):
        own = max((number for key, number in _values(usual) if key == name), default=0.0)
        ratio = value / max(own, LEAST.get(name, 0.0))
        ratios[name] = max(ratio, ratios.get(name, 0.0))
    extreme = [name for name, ratio in ratios.items() if ratio > FAR]
    if extreme:
        names = sorted(extreme, key=lambda name: -ratios[name])
        last = " and "
    else:
        names = [name for name in ("lr", "eps", "adv_weight") if name in ratios]
        last = " or "
    options = [f"--{name.replace('_', '-')} (now {_now(config, name)})" for name in names]
    joined = last.join([", ".join(options[:-1]), options[-1]] if options[1:] else options)
    return f"a lower {joined}"


def _values(config: ResolvedConfig) -> Iterator[tuple[str, float]]:
    """The options that can be too large, with every value that they have."""
    for rate in config.lr.values() if isinstance(config.lr, dict) else (config.lr,):
        yield "lr", rate
    if config.init_std is not None:
        yield "init_std", config.init_std
    yield "reg", config.reg
    if config.phase == "adversarial" and config.adv_weight > 0:
        for eps in (config.eps, *config.site_eps.values()):
            yield "eps", eps
        for weight in (config.adv_weight, *config.site_adv_weight.values()):
            yield "adv_weight", weight


def _now(config: ResolvedConfig, name: str) -> str:
    sites = {"eps": config.site_eps, "adv_weight": config.site_adv_weight}.get(name)
    own = written(getattr(config, name))
    return f"{own}, {written(dict(sites))}" if sites else own
