"""A fit from its numbers is the fit."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting import SeriesBatch, fit
from forecasting.models.registry import get_model, model_names
from forecasting.stored import form_digest, keeps_numbers, observed, restore

N, BEFORE, NOW = 5, 80, 95


def batch(length: int, **related: list[list[float]]) -> SeriesBatch:
    rng = np.random.default_rng(2)
    values = 30 + 6 * np.sin(np.arange(NOW) * 2 * np.pi / 7) + rng.normal(0, 1, (N, NOW))
    values[:, 11] = np.nan
    return SeriesBatch.from_arrays(list(values[:, :length]), "2024-01-01", "D", related=related)


@pytest.mark.parametrize("model", [name for name in model_names() if keeps_numbers(get_model(name))])
def test_every_family_that_keeps_numbers_can_be_restored(model: str) -> None:
    before, now = fit(batch(BEFORE), model, seed=3), batch(NOW)
    n = before.numbers
    stored = (n.parameters.copy(), n.states.copy(), np.array(n.state_offsets), n.status.copy(), n.reason.copy())
    again = restore(now, model, np.full(N, BEFORE), *stored, seed=3)
    for found, expected in (
        (again, before),
        (again.update(now), before.update(now)),
        (again.refit(now), before.refit(now)),
    ):
        ours, theirs = found.predict(9), expected.predict(9)
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_array_equal(ours.quantiles, theirs.quantiles)
        np.testing.assert_array_equal(ours.reason, theirs.reason)
        np.testing.assert_array_equal(ours.first_step, theirs.first_step)


def test_numbers_of_another_shape_are_refused() -> None:
    n = fit(batch(BEFORE), "naive").numbers
    rest = (n.states, n.state_offsets, n.status, n.reason)
    with pytest.raises(ValueError, match=r"got parameters \(5, 2\) .* expected \(5, 1\)"):
        restore(batch(NOW), "naive", np.full(N, BEFORE), np.ones((N, 2)), *rest)
    with pytest.raises(ValueError, match="between 0 and the length"):
        restore(batch(NOW), "naive", np.full(N, NOW + 1), n.parameters, *rest)


def test_a_form_is_model_hyperparameters_and_regressors() -> None:
    plain, priced = batch(BEFORE), batch(BEFORE, price=[[1.0]] * N)
    forms = {
        form_digest("ets", plain), form_digest("ets", plain, form="ANN"), form_digest("naive", plain),
        form_digest("prophet", plain), form_digest("prophet", priced, lags={"price": 9}),
    }  # fmt: skip
    assert len(forms) == 5
    assert form_digest("ets", plain, form="ZZZ") == form_digest("ets", priced), "a default that is spelled out"
    np.testing.assert_array_equal(observed(plain, np.arange(10, 10 + N)), [10, 11, 11, 12, 13])
