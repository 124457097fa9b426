"""The tables behind the words of options: each word is in every table that must have it."""

from __future__ import annotations

import pytest

from advrec import choices, ops
from advrec.models import MODELS
from advrec.ops.reference.optim import STEPS
from advrec.robustness import perturb
from advrec.training.fused import FUSED


def test_every_word_has_its_line_in_the_tables():
    assert set(choices.OPTIMIZERS) == set(ops.OPTIMIZERS) == set(STEPS)
    assert set(choices.SAMPLINGS) == set(ops.SAMPLINGS)
    assert tuple(perturb.NORMS) == choices.NORMS
    assert all(name == norm.name for name, norm in perturb.NORMS.items())


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_site_has_norms_that_exist(model):
    for site in MODELS[model].sites:
        assert set(site.norms) <= set(choices.NORMS)
        assert site.table_norms, "an attack needs one"


@pytest.mark.parametrize("kind", list(FUSED))
def test_the_core_is_only_said_to_know_what_it_has_numbers_for(kind):
    coverage = FUSED[kind]
    for site, norms in coverage.noise.items():
        assert set(norms) <= set(kind.site(site).norms)
        assert set(norms) <= set(ops.NORMS)
    for optimizer in coverage.optimizers:
        assert ops.OPTIMIZERS[optimizer].code is not None
    for precisions in coverage.precisions.values():
        assert set(precisions) <= set(choices.PRECISIONS)
    assert set(coverage.options) <= set(kind.options)


def test_the_codes_of_the_core_are_distinct():
    codes = [o.code for o in ops.OPTIMIZERS.values() if o.code is not None]
    assert len(set(codes)) == len(codes)
