"""fit, predict, forecast and update: statuses, guards, bounds, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from forecasting import Bounds, Frequency, SeriesBatch, Status, fit, forecast
from forecasting.models import registry
from forecasting.models.baselines import Naive
from forecasting.models.contract import Fitted, RawForecast

NAN = np.nan


def batch_of(*arrays: Any, **options: Any) -> SeriesBatch:
    return SeriesBatch.from_arrays(list(arrays), **{"start": "2024-01-01", "freq": "D"} | options)


class Spoiled(Naive):
    """Naive, spoiled in a way chosen by the series' last value: 1 not finite, 2 explosive, 3 crossing, else as is."""

    name = "spoiled"

    def predict(self, fitted: Fitted, horizon: int, quantiles: Any) -> RawForecast:
        raw = super().predict(fitted, horizon, quantiles)
        last = raw.mean[:, 0].copy()
        raw.quantiles[last == 1, -1, 0] = NAN
        raw.mean[last == 2, 0] = 1e6
        raw.quantiles[last == 3] = raw.quantiles[last == 3, :, ::-1]
        return raw


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> str:
    known = registry.get_model
    monkeypatch.setattr("forecasting.api.get_model", lambda name: Spoiled() if name == "spoiled" else known(name))
    return "spoiled"


HISTORIES = [[5.0, 6.0, 4.0, last] for last in (0.0, 1.0, 2.0, 3.0)]


def test_shapes_and_bookkeeping() -> None:
    batch = batch_of(np.arange(10.0), [1.0, NAN, 3.0], [])
    result = forecast(batch, "naive", 4, (0.2, 0.8))
    assert result.model == "naive"
    assert result.levels == (0.2, 0.8)
    assert result.mean.shape == (3, 4)
    assert result.quantiles.shape == (3, 4, 2)
    assert list(result.n_obs) == [10, 2, 0]
    assert list(result.n_filled) == list(result.n_clipped) == [0, 0, 0]
    assert list(result.evaluations) == [1, 1, 1]
    labels = batch.frequency.labels(result.first_step).astype("M8[us]").astype("M8[D]").astype(str)
    assert list(labels) == ["2024-01-11", "2024-01-04", "2024-01-01"]
    assert (result.seconds > 0).all()
    assert result.seconds[0] > result.seconds[1] > result.seconds[2]
    windows = fit(batch, "naive", [[10, 5], [3, 0], [0, 0]]).predict(4)
    assert windows.mean.shape == (3, 2, 4)
    assert windows.quantiles.shape == (3, 2, 4, 3)
    for name in ("status", "reason", "seconds", "n_obs", "n_filled", "n_clipped", "evaluations", "first_step"):
        assert getattr(windows, name).shape == (3, 2), name
    assert windows.n_obs.tolist() == [[10, 5], [2, 0], [0, 0]]
    assert windows.mean[0, :, 0].tolist() == [9, 4]


def test_filled_points_are_counted_apart() -> None:
    plain = batch_of([1.0, 0.0, 2.0])
    batch = SeriesBatch(
        plain.values, plain.offsets, plain.start, plain.frequency, plain.keys, filled=np.array([0, 1, 0], np.uint8)
    )
    result = forecast(batch, "naive", 2)
    assert result.n_obs[0] == 2
    assert result.n_filled[0] == 1


def test_a_series_of_filled_points_only_is_forecast() -> None:
    plain = batch_of([0.0, 0.0])
    batch = SeriesBatch(
        plain.values, plain.offsets, plain.start, plain.frequency, plain.keys, filled=np.ones(2, np.uint8)
    )
    result = forecast(batch, "naive", 2)
    assert result.status[0] == Status.OK
    assert result.n_obs[0] == 0


def test_a_spoiled_forecast_is_replaced_and_the_reason_kept(spoiled: str) -> None:
    result = forecast(batch_of(*HISTORIES), spoiled, 3)
    stand_in = forecast(batch_of(*HISTORIES), "seasonal_naive", 3)
    assert list(result.status) == [Status.OK, Status.FALLBACK, Status.FALLBACK, Status.OK]
    assert list(result.reason) == ["", "not_finite", "explosive", ""]
    np.testing.assert_array_equal(result.quantiles[1:3], stand_in.quantiles[1:3])
    np.testing.assert_array_equal(result.mean[1:3], stand_in.mean[1:3])
    assert (np.diff(result.quantiles, axis=-1) >= 0).all()
    naive = forecast(batch_of(*HISTORIES), "naive", 3)
    np.testing.assert_array_equal(result.quantiles[[0, 3]], naive.quantiles[[0, 3]])


def test_without_fallback_it_fails_and_only_it(spoiled: str) -> None:
    result = forecast(batch_of(*HISTORIES), spoiled, 3, fallback=False)
    assert list(result.status) == [Status.OK, Status.FAILED, Status.FAILED, Status.OK]
    assert list(result.reason) == ["", "not_finite", "explosive", ""]
    assert np.isnan(result.mean[1:3]).all()
    assert np.isnan(result.quantiles[1:3]).all()
    assert np.isfinite(result.quantiles[[0, 3]]).all()


def test_a_refused_forecast_says_why_even_when_the_fit_had_a_remark(spoiled: str) -> None:
    result = forecast(batch_of([2.0]), spoiled, 3, fallback=False)
    assert forecast(batch_of([2.0]), "naive", 3).reason[0] == "one_observation"
    assert result.reason[0] == "explosive"


def test_bounds_hold_for_every_number_and_are_counted() -> None:
    batch = batch_of([0.0, 4.0, 0.0, 4.0, 1.0], [50.0, 51.0, 52.0, 51.0, 50.0])
    free = forecast(batch, "naive", 5)
    bounded = forecast(batch, "naive", 5, bounds=Bounds(lower=0.0, whole_units=True))
    assert free.quantiles.min() < 0
    assert bounded.quantiles.min() == 0
    assert bounded.n_clipped[0] == (free.quantiles[0] < 0).sum() > 0
    assert bounded.n_clipped[1] == 0
    np.testing.assert_array_equal(bounded.quantiles, np.rint(bounded.quantiles))
    np.testing.assert_array_equal(bounded.mean, free.mean)


def test_bounds_hold_for_the_fallback_too() -> None:
    result = forecast(batch_of([NAN, NAN]), "naive", 3, bounds=Bounds(lower=2.0))
    assert result.status[0] == Status.FALLBACK
    assert (result.quantiles == 2.0).all()


@pytest.mark.parametrize(
    ("horizon", "levels", "message"),
    [(0, (0.5,), "horizon is 0"), (-3, (0.5,), "horizon is -3"), (3, (), "quantiles are"),
     (3, (0.0, 0.5), "quantiles"), (3, (0.5, 1.0), "quantiles"),
     (3, (0.9, 0.1), "increasing"), (3, (0.5, 0.5), "increasing"),
     (3, (0.1, float("nan")), "quantiles")],
)  # fmt: skip
def test_horizons_and_levels_that_make_no_sense(horizon: int, levels: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forecast(batch_of([1.0, 2.0]), "naive", horizon, levels)


def test_unknown_models_and_hyperparameters() -> None:
    with pytest.raises(ValueError, match="did you mean 'naive'"):
        fit(batch_of([1.0]), "naiv")
    with pytest.raises(ValidationError, match="seasonality"):
        fit(batch_of([1.0]), "naive", seasonality=7)
    with pytest.raises(ValidationError, match="season_length"):
        fit(batch_of([1.0]), "naive", season_length=0)


def test_season_length_is_the_frequencys_unless_given() -> None:
    y = np.arange(30.0)
    week = forecast(batch_of(y), "seasonal_naive", 3)
    assert week.mean[0].tolist() == [23, 24, 25]
    ten = forecast(batch_of(y), "seasonal_naive", 3, season_length=10)
    assert ten.mean[0].tolist() == [20, 21, 22]


def test_update_moves_on_to_the_newer_series() -> None:
    older, newer = batch_of([1.0, 2.0], [5.0]), batch_of([1.0, 2.0, 7.0], [5.0])
    fitted = fit(older, "naive", seed=4)
    updated = fitted.update(newer)
    assert updated.predict(1).mean[:, 0].tolist() == [7, 5]
    assert updated.predict(1).n_obs.tolist() == [3, 1]
    np.testing.assert_array_equal(updated.numbers.rows.seeds, fitted.numbers.rows.seeds)
    assert fitted.predict(1).mean[:, 0].tolist() == [2, 5]


def test_update_may_get_a_later_part_of_the_series() -> None:
    """Only points after the fitted end matter: a newer batch may begin later."""
    fitted = fit(batch_of([1.0, 2.0, 3.0]), "seasonal_naive", season_length=2)
    newer = batch_of([9.0, 4.0], start="2024-01-03")
    assert fitted.update(newer).predict(2).mean[0].tolist() == [3, 4]


def test_update_refuses_other_series() -> None:
    fitted = fit(batch_of([1.0, 2.0], [3.0, 4.0]), "naive")
    with pytest.raises(ValueError, match="same order"):
        fitted.update(batch_of([1.0, 2.0]))
    with pytest.raises(ValueError, match="same order"):
        fitted.update(batch_of([1.0, 2.0], [3.0, 4.0], keys=["1", "0"]))
    with pytest.raises(ValueError, match="frequency"):
        fitted.update(batch_of([1.0, 2.0], [3.0, 4.0], freq="h"))
    with pytest.raises(ValueError, match="end before"):
        fitted.update(batch_of([1.0], [3.0, 4.0, 5.0]))
    with pytest.raises(ValueError, match="backtest windows"):
        fit(batch_of([1.0, 2.0]), "naive", [[1]]).update(batch_of([1.0, 2.0]))


def test_extreme_magnitudes_never_leave_a_number_that_is_not_finite() -> None:
    """Squares overflow here; the fallback must still be a forecast."""
    y = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) * 1e200
    result = forecast(batch_of(y), "naive", 3)
    assert np.isfinite(result.mean).all()
    assert np.isfinite(result.quantiles).all()
    assert result.status[0] == Status.FALLBACK
    assert result.reason[0] == "not_finite"


def test_frequency_objects_are_frequencies_too() -> None:
    grid = Frequency.parse("D")
    assert batch_of([1.0], freq=grid).frequency == grid
