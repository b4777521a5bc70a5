"""Forecasts: neighbours, leaks, windows, odd series, kinds of related data, every likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepar_family import HORIZON, LENGTH, Family, family  # noqa: E402

from forecasting import Bounds, SeriesBatch, Status  # noqa: E402
from forecasting.batch import Holidays  # noqa: E402
from forecasting.deepar import DeepAR, Facts, ItemMetadata, SeriesSet, Settings, Trainer  # noqa: E402
from forecasting.deepar.inference import quantiles_of  # noqa: E402

LEVELS = (0.1, 0.5, 0.9)
SMALL: dict[str, Any] = {"num_cells": 12, "batches_per_epoch": 25, "epochs": 3, "learning_rate": 1e-2}


def trained(
    batch: SeriesBatch, metadata: ItemMetadata | None = None, horizon: int = HORIZON, **changes: Any
) -> DeepAR:
    torch.set_num_threads(1)
    settings = Settings(**{**SMALL, **changes})
    facts = Facts.learn(batch, metadata, horizon, settings)
    trainer = Trainer(SeriesSet.of(batch, facts, metadata), facts, settings, seed=2)
    assert all(np.isfinite(p.loss) for p in trainer.run())
    assert trainer.skipped == 0
    return trainer.model()


@pytest.fixture(scope="module")
def known() -> Family:
    return family(24)


@pytest.fixture(scope="module")
def model(known: Family) -> DeepAR:
    return trained(known.batch, known.metadata)


def test_neighbours_and_order_do_not_matter(model: DeepAR, known: Family) -> None:
    order = np.random.default_rng(0).permutation(24)
    whole = model.predict(known.batch, HORIZON, LEVELS, known.metadata, seed=3)
    for index in (order, np.array([7]), np.array([20, 3])):
        part = model.predict(known.batch.take(index), HORIZON, LEVELS, known.metadata.take(index), seed=3)
        np.testing.assert_allclose(part.quantiles, whole.quantiles[index], rtol=1e-4)
        np.testing.assert_allclose(part.mean, whole.mean[index], rtol=1e-4)
    again = model.predict(known.batch, HORIZON, LEVELS, known.metadata, seed=3)
    np.testing.assert_array_equal(again.quantiles, whole.quantiles)
    other = model.predict(known.batch, HORIZON, LEVELS, known.metadata, seed=4)
    assert (other.quantiles != whole.quantiles).any(axis=(1, 2)).all()


def test_windows_see_nothing_after_their_end(model: DeepAR, known: Family) -> None:
    ends = np.tile([40, 80, LENGTH], (24, 1))
    whole = model.predict(known.batch, HORIZON, LEVELS, known.metadata, ends=ends)
    assert whole.mean.shape == (24, 3, HORIZON)
    assert whole.quantiles.shape == (24, 3, HORIZON, 3)
    assert list(whole.first_step[0] - known.batch.start[0]) == [40, 80, LENGTH]
    for w, end in enumerate((40, 80)):
        targets = [known.batch.series(i).copy() for i in range(24)]
        prices = known.batch.related["price"].values.reshape(24, -1).copy()
        for target in targets:
            target[end:] = 1e7
        prices[:, end + HORIZON :] = -1e7  # known ahead, but not beyond the horizon
        changed = SeriesBatch.from_arrays(
            targets,
            "2010-01-01",
            "MS",
            keys=known.batch.keys,
            related={"price": list(prices)},
            known_in_future=["price"],
        )
        found = model.predict(changed, HORIZON, LEVELS, known.metadata, ends=ends[:, [w]])
        np.testing.assert_allclose(found.quantiles[:, 0], whole.quantiles[:, w], rtol=1e-4)
        np.testing.assert_allclose(found.mean[:, 0], whole.mean[:, w], rtol=1e-4)


def test_a_shorter_horizon_is_the_beginning_of_the_longer(model: DeepAR, known: Family) -> None:
    whole = model.predict(known.batch, HORIZON, LEVELS, known.metadata)
    short = model.predict(known.batch, 2, LEVELS, known.metadata)
    np.testing.assert_allclose(short.quantiles, whole.quantiles[:, :2], rtol=1e-4)
    with pytest.raises(ValueError, match="trained for at most 6"):
        model.predict(known.batch, HORIZON + 1, LEVELS, known.metadata)


def test_what_a_batch_lacks_is_said(model: DeepAR, known: Family) -> None:
    bare = SeriesBatch.from_arrays([[1.0, 2.0]], "2010-01-01", "MS")
    with pytest.raises(ValueError, match=r"'price' is missing.*'size' is missing"):
        model.predict(bare, HORIZON)


def test_bounds_are_kept(model: DeepAR, known: Family) -> None:
    result = model.predict(
        known.batch, HORIZON, LEVELS, known.metadata, bounds=Bounds(lower=20.0, upper=60.0, whole_units=True)
    )
    assert ((result.quantiles >= 20) & (result.quantiles <= 60) & (result.quantiles % 1 == 0)).all()
    assert result.n_clipped.sum() > 0


def odd() -> SeriesBatch:
    rng = np.random.default_rng(4)
    wave = 5 + np.sin(np.arange(60))
    arrays: dict[str, Any] = {
        "usual": wave + rng.normal(0, 0.2, 60),
        "tiny": 1e-9 * wave,
        "huge": 1e9 * wave,
        "zero": np.zeros(60),
        "zero lately": np.r_[wave[:30], np.zeros(30)],
        "constant": np.full(60, 7.0),
        "negative": -wave,
        "one point": [4.0],
        "missing": np.full(60, np.nan),
        "empty": [],
        "gaps": np.where(rng.random(60) < 0.6, np.nan, wave),
    }
    price = [np.full(len(a) + HORIZON, np.nan) for a in arrays.values()]
    price[0][:] = rng.normal(3, 1, len(price[0]))
    return SeriesBatch.from_arrays(
        list(arrays.values()), "2020-01-01", "D", keys=list(arrays), related={"p": price}, known_in_future=["p"]
    )


@pytest.mark.parametrize("likelihood", ["student-T", "gaussian", "piecewise-linear", "deterministic-L1"])
def test_odd_series_are_forecast_sensibly(likelihood: str) -> None:
    batch = odd()
    result = trained(batch, likelihood=likelihood).predict(batch, HORIZON, (0.01, 0.1, 0.5, 0.9, 0.99))
    assert np.isfinite(result.quantiles).all()
    assert np.isfinite(result.mean).all()
    assert (np.diff(result.quantiles, axis=2) >= 0).all()
    assert (result.status == Status.OK).all()
    median = dict(zip(batch.keys, result.quantiles[:, :, 2], strict=True))
    assert (np.abs(median["tiny"]) < 2e-8).all()
    assert (median["tiny"] > 1e-9).all()
    assert ((median["huge"] > 1e9) & (median["huge"] < 2e10)).all()
    assert (median["negative"] < 0).all()
    assert (np.abs(median["constant"] - 7) < 3).all()


@pytest.mark.parametrize("likelihood", ["negative-binomial", "poisson"])
def test_counts(likelihood: str) -> None:
    rng = np.random.default_rng(5)
    rates = np.r_[np.full(15, 0.3), np.full(15, 4.0), np.full(10, 900.0)]
    arrays = [rng.poisson(r, 60).astype(float) for r in rates] + [np.zeros(60), np.array([]), np.array([3.0])]
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D")
    assert Facts.learn(batch).likelihood == "negative-binomial"
    model = trained(batch, likelihood=likelihood, epochs=6)
    result = model.predict(batch, HORIZON, (0.05, 0.5, 0.95), num_samples=300)
    assert (result.status == Status.OK).all()
    assert (result.quantiles >= 0).all()
    np.testing.assert_allclose(result.mean[:40].mean(1), rates, rtol=0.5, atol=0.3)
    future = rng.poisson(rates[:, None], (40, HORIZON))
    inside = (future >= result.quantiles[:40, :, 0]) & (future <= result.quantiles[:40, :, 2])
    assert inside.mean() > 0.8
    assert result.quantiles[40, :, 1].max() < 3


def test_shares() -> None:
    rng = np.random.default_rng(6)
    arrays = [rng.beta(20 * m, 20 * (1 - m), 60) for m in rng.uniform(0.05, 0.9, 30)] + [
        np.r_[np.zeros(30), np.ones(30)]
    ]
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "D")
    assert Facts.learn(batch).likelihood == "beta"
    result = trained(batch, epochs=6).predict(batch, HORIZON, LEVELS)
    assert ((result.quantiles >= 0) & (result.quantiles <= 1)).all()
    level = np.array([a.mean() for a in arrays[:30]])
    np.testing.assert_allclose(result.mean[:30].mean(1), level, atol=0.15)


def test_a_related_series_that_is_not_known_ahead_is_used_with_a_lag() -> None:
    """The target follows traffic of a horizon ago: with it the error is much smaller than without."""
    rng = np.random.default_rng(7)
    traffic = np.exp(rng.normal(0, 0.5, (40, 100)))
    target = 3 * np.roll(traffic, 4, axis=1) + rng.normal(0, 0.05, (40, 100))
    seen, future = target[:, :96], target[:, 96:]

    def error(**related: Any) -> float:
        batch = SeriesBatch.from_arrays(list(seen), "2020-01-01", "D", **related)
        result = trained(batch, horizon=4, epochs=12, num_cells=24).predict(batch, 4, (0.5,))
        return float(np.abs(result.quantiles[:, :, 0] - future).sum() / future.sum())

    with_it, without = error(related={"traffic": list(traffic[:, :96])}), error()
    assert with_it < 0.5 * without


def test_holidays_are_seen() -> None:
    """A holiday doubles the target of one group and not of the other."""
    rng = np.random.default_rng(8)
    days = np.zeros((2, 120, 1))
    days[0, rng.choice(116, 30, replace=False), 0] = 1.0
    days[0, 118, 0] = 1.0
    group = np.arange(40) % 3 - 1  # none, the first, the second (which keeps no holiday)
    level = rng.uniform(5, 50, 40)
    doubled = np.where((group == 0)[:, None], days[0, :, 0], 0.0)
    target = level[:, None] * (1 + doubled) * np.exp(rng.normal(0, 0.05, (40, 120)))
    first = 18262  # 2020-01-01
    holidays = Holidays(("Feast",), ("Feast",), first, days, group)
    plain = SeriesBatch.from_arrays(list(target[:, :116]), "2020-01-01", "D")
    batch = SeriesBatch(plain.values, plain.offsets, plain.start, plain.frequency, plain.keys, holidays=holidays)
    assert batch.start[0] == first
    result = trained(batch, horizon=4, epochs=8, num_cells=24).predict(batch, 4, (0.5,))
    ratio = result.quantiles[:, 2, 0] / result.quantiles[:, [0, 1, 3], 0].mean(1)
    assert ratio[group == 0].mean() > 1.6
    assert ratio[group != 0].mean() == pytest.approx(1.0, abs=0.2)
    without = trained(batch, horizon=4, epochs=1).predict(plain, 4, (0.5,))
    assert np.isfinite(without.quantiles).all()


@pytest.mark.parametrize("frequency", ["YS", "QS", "W-MON", "h", "15min"])
def test_other_frequencies(frequency: str) -> None:
    rng = np.random.default_rng(9)
    batch = SeriesBatch.from_arrays(list(rng.uniform(4, 6, (5, 50))), "2015-01-05", frequency)
    result = trained(batch, horizon=3, epochs=1, batches_per_epoch=5).predict(batch, 3, LEVELS)
    assert np.isfinite(result.quantiles).all()


def test_quantiles_of_paths() -> None:
    paths = torch.tensor([[[4.0], [1.0], [3.0], [2.0]]])
    found = quantiles_of(paths, (0.01, 0.125, 0.25, 0.5, 0.875, 0.99))
    assert found[0, 0].tolist() == pytest.approx([1.0, 1.0, 1.5, 2.5, 4.0, 4.0])


def test_no_series() -> None:
    batch = SeriesBatch.from_arrays(list(np.random.default_rng(1).uniform(1, 2, (3, 30))), "2020-01-01", "D")
    model = trained(batch, epochs=1, batches_per_epoch=2)
    empty = SeriesBatch.from_arrays([], "2020-01-01", "D")
    assert model.predict(empty, HORIZON, LEVELS).quantiles.shape == (0, HORIZON, 3)


def test_a_model_gone_wrong_falls_back(known: Family) -> None:
    broken = trained(known.batch, known.metadata, epochs=1, batches_per_epoch=1)
    with torch.no_grad():
        broken.network.head.bias.fill_(torch.nan)
    result = broken.predict(known.batch, HORIZON, LEVELS, known.metadata)
    assert (result.status == Status.FALLBACK).all()
    assert set(result.reason) == {"not_finite"}
    assert np.isfinite(result.quantiles).all()
    refused = broken.predict(known.batch, HORIZON, LEVELS, known.metadata, fallback=False)
    assert (refused.status == Status.FAILED).all()
    assert np.isnan(refused.quantiles).all()
