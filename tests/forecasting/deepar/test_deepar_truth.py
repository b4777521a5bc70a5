"""A trained model on a family whose truth is known: effect of the price, level of a category, coverage, cold items."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deepar_family import HORIZON, LENGTH, LEVEL_SPREAD, LEVELS, NOISE, PRICE_EFFECT, Family, family, season  # noqa: E402

from forecasting import SeriesBatch, Status  # noqa: E402
from forecasting.deepar import DeepAR, Facts, ItemMetadata, SeriesSet, Settings, Trainer, impacts  # noqa: E402


@pytest.fixture(scope="module")
def known() -> Family:
    return family(150)


@pytest.fixture(scope="module")
def model(known: Family) -> DeepAR:
    torch.set_num_threads(1)
    settings = Settings(
        epochs=30,
        learning_rate=5e-3,
        max_learning_rate_decays=4,
        early_stopping_patience=3,
        dropout=0.2,
        cold_share=0.2,
    )
    facts = Facts.learn(known.batch, known.metadata, HORIZON, settings)
    trainer = Trainer(SeriesSet.of(known.batch, facts, known.metadata), facts, settings, seed=1)
    progress = list(trainer.run())
    assert progress[-1].best < progress[0].held_out
    return trainer.model()


def test_accuracy_is_near_what_the_noise_allows(model: DeepAR, known: Family) -> None:
    result = model.predict(known.batch, HORIZON, (0.1, 0.5, 0.9), known.metadata)
    assert (result.status == Status.OK).all()
    share = np.abs(result.quantiles[:, :, 1] - known.actual).sum() / known.actual.sum()
    assert share < 1.6 * NOISE * np.sqrt(2 / np.pi)  # the expected absolute error of the noise alone, and a margin
    assert (np.diff(result.quantiles, axis=2) >= 0).all()


def test_coverage_on_series_it_has_never_seen(model: DeepAR) -> None:
    new = family(300, seed=9)
    levels = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    result = model.predict(new.batch, HORIZON, levels, new.metadata)
    found = (new.actual[:, :, None] <= result.quantiles).mean((0, 1))
    # 1,800 values: a share has a standard deviation of up to 0.012
    np.testing.assert_allclose(found, levels, atol=0.05)
    inside = found[5] - found[1]
    assert inside == pytest.approx(0.8, abs=0.04)


def with_price(known: Family, factor: float) -> SeriesBatch:
    """The family with the usual price, times a factor, in the horizon."""
    prices = []
    for i in range(len(known.batch)):
        column = known.batch.related["price"]
        price = column.values[column.offsets[i] : column.offsets[i + 1]].copy()
        price[LENGTH:] = known.usual_price[i] * factor
        prices.append(price)
    batch = known.batch
    return SeriesBatch.from_arrays(
        [batch.series(i) for i in range(len(batch))],
        "2010-01-01",
        "MS",
        keys=batch.keys,
        related={"price": prices},
        known_in_future=["price"],
    )


def test_the_effect_of_the_price_is_found(model: DeepAR, known: Family) -> None:
    usual = model.predict(with_price(known, 1.0), HORIZON, (0.5,), known.metadata)
    dearer = model.predict(with_price(known, 1.15), HORIZON, (0.5,), known.metadata)
    effect = np.log(dearer.mean / usual.mean) / 0.15
    assert np.median(effect) == pytest.approx(PRICE_EFFECT, rel=0.3)
    assert (effect < 0).mean() > 0.95


def cold(n: int = 1) -> tuple[SeriesBatch, ItemMetadata]:
    names = [name for name in LEVELS for _ in range(n)]
    batch = SeriesBatch.from_arrays(
        [[] for _ in names],
        "2018-01-01",
        "MS",
        keys=[f"new {i}" for i in range(len(names))],
        related={"price": [np.full(HORIZON, 7.0) for _ in names]},
        known_in_future=["price"],
    )
    return batch, ItemMetadata({"size": names})


def test_a_cold_item_gets_the_level_of_its_category(model: DeepAR) -> None:
    batch, metadata = cold()
    result = model.predict(batch, HORIZON, (0.05, 0.5, 0.95), metadata, num_samples=400)
    assert (result.status == Status.OK).all()
    truth = np.array(list(LEVELS.values()))[:, None] * season(np.arange(LENGTH, LENGTH + HORIZON))
    inside = (result.quantiles[:, :, 0] < truth) & (truth < result.quantiles[:, :, 2])
    assert inside.all()
    np.testing.assert_allclose(np.log(result.mean / truth).mean(1), 0.0, atol=2 * LEVEL_SPREAD)
    # and not just anything: the interval is a few times what level and noise spread
    width = np.log(result.quantiles[:, :, 2] / result.quantiles[:, :, 0].clip(1e-9)).mean(1)
    assert (width < 5 * 2 * 1.645 * np.hypot(LEVEL_SPREAD, NOISE)).all()


def test_an_unknown_category_is_wider_than_a_known_one(model: DeepAR) -> None:
    batch, metadata = cold()
    known_ones = model.predict(batch, HORIZON, (0.05, 0.5, 0.95), metadata)
    nowhere = model.predict(batch, HORIZON, (0.05, 0.5, 0.95), ItemMetadata({"size": ["never seen", None, ""]}))
    assert np.isfinite(nowhere.quantiles).all()

    def width(quantiles: np.ndarray) -> np.ndarray:
        return (quantiles[..., 2] - quantiles[..., 0]) / quantiles[..., 1]

    assert width(nowhere.quantiles).mean() > width(known_ones.quantiles).mean()


def test_a_missing_price_is_not_a_price_of_zero(model: DeepAR, known: Family) -> None:
    column = known.batch.related["price"]
    missing = SeriesBatch.from_arrays(
        [known.batch.series(i) for i in range(len(known.batch))],
        "2010-01-01",
        "MS",
        related={"price": [np.full(column.offsets[1], np.nan) for _ in range(len(known.batch))]},
        known_in_future=["price"],
    )
    result = model.predict(missing, HORIZON, (0.1, 0.5, 0.9), known.metadata)
    assert (result.status == Status.OK).all()
    share = np.abs(result.quantiles[:, :, 1] - known.actual).sum() / known.actual.sum()
    assert share < 0.5


def test_impacts_say_what_moves_a_forecast(model: DeepAR, known: Family) -> None:
    dearer = with_price(known, 1.2)
    found = impacts(model, dearer, HORIZON, known.metadata)
    assert found.names == ("price", "size", "month_of_year")
    assert found.kinds == ("related", "metadata", "calendar")
    base = model.predict(dearer, HORIZON, (0.5,), known.metadata).mean
    added = found.mean[:, 0] / base.mean(1)  # by a price 20 % above the usual: exp(-0.2) - 1 of what would be
    assert np.median(added) == pytest.approx(1 - np.exp(0.2), abs=0.08)
    assert found.total[0] > found.total[1]  # a history tells its own level
    new, metadata = cold()
    of_new = impacts(model, new, HORIZON, metadata)
    assert of_new.size[[0, 2], 1].min() > 0.5  # without its category a small or large item would be far off
    assert (np.sign(of_new.mean[[0, 2], 1]) == [-1, 1]).all()
