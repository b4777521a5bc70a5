"""Cold start on a generated family whose truth is known: level by category and price, one season for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.batch import FloatArray, offsets_of
from forecasting.cold_start import ColdModel, ColdTargets, DonorPool, FeatureSpace, fit_cold
from forecasting.cold_start.kernels import mixture_quantile
from forecasting.cold_start.levels import NORMAL_NODES, fit_levels, importance
from forecasting.frequency import Frequency, Int64Array
from forecasting.seeds import key_hashes

MONTHS = Frequency.parse("MS")
SEASON = 12
H = 12
LEVELS = (0.1, 0.5, 0.9)
ELASTICITY = -1.5
OF_CATEGORY = {"coffee": 4.0, "tea": 2.0, 'tins "\N{DANGO}"': 6.0}
SHAPE = 1.0 + 0.5 * np.sin(2 * np.pi * np.arange(SEASON) / SEASON)
NOISE, OWN_LEVEL = 0.2, 0.3
NOW = 480
"""Ordinal of the first step."""


@dataclass(frozen=True)
class Family:
    """values: [N, T] up to NOW. future: [N, H]. level: [N], the true one."""

    names: list[str]
    category: list[str | None]
    price: FloatArray
    values: FloatArray
    future: FloatArray
    level: FloatArray

    def take(self, index: Any) -> Family:
        pick = [int(i) for i in index]
        return Family(
            [self.names[i] for i in pick], [self.category[i] for i in pick], self.price[pick], self.values[pick],
            self.future[pick], self.level[pick],
        )  # fmt: skip


def family(n: int, seed: int, periods: int = 48) -> Family:
    rng = np.random.default_rng(seed)
    kinds = list(OF_CATEGORY)
    category = [kinds[i % 3] for i in range(n)]
    price = np.exp(rng.normal(0, 0.4, n))
    log_level = np.array([OF_CATEGORY[c] for c in category]) + ELASTICITY * np.log(price) + rng.normal(0, OWN_LEVEL, n)
    ordinals = np.arange(NOW - periods, NOW + H)
    noise = np.exp(rng.normal(0, NOISE, (n, len(ordinals))) - NOISE**2 / 2)
    y = np.exp(log_level)[:, None] * SHAPE[ordinals % SEASON] * noise
    names = [f"item {i} 'q' \N{DANGO}" for i in range(n)]
    return Family(names, category, price, y[:, :periods], y[:, periods:], np.exp(log_level))


def fitted(donors: Family, *, scale: float = 1.0, features: bool = True, values: FloatArray | None = None) -> Any:
    """The model and its space."""
    n, periods = donors.values.shape
    texts: dict[str, Any] = {"category": donors.category} if features else {}
    numbers = {"price": donors.price} if features else {}
    space = FeatureSpace.of(texts, numbers)
    pool = DonorPool(
        values=((donors.values if values is None else values) * scale).ravel(),
        offsets=offsets_of([periods] * n),
        start=np.full(n, NOW - periods),
        launched=np.zeros(n, dtype=np.int64),
        features=space.encode(texts, numbers, n),
        keys=donors.names,
    )
    return fit_cold(pool, MONTHS, enough=12), space


def targets(items: Family, space: FeatureSpace, seen: int = 0, *, scale: float = 1.0, features: bool = True) -> Any:
    n = len(items.names)
    own = items.values[:, items.values.shape[1] - seen :] * scale
    offsets = offsets_of([seen] * n)
    texts: dict[str, Any] = {"category": items.category} if features else {}
    return ColdTargets(
        values=own.ravel(),
        begin=offsets[:-1],
        end=offsets[1:],
        start=np.full(n, NOW - seen),
        first_step=np.full(n, NOW),
        features=space.encode(texts, {"price": items.price} if features else {}, n),
        key_hash=key_hashes(items.names),
    )


@pytest.fixture(scope="module")
def donors() -> Family:
    return family(150, 1)


@pytest.fixture(scope="module")
def hidden() -> Family:
    return family(300, 2)


@pytest.fixture(scope="module")
def learnt(donors: Family) -> tuple[ColdModel, FeatureSpace]:
    model, space = fitted(donors)
    return model, space


def forecast(learnt: tuple[ColdModel, FeatureSpace], items: Family, seen: int = 0, **options: Any) -> Any:
    model, space = learnt
    return model.forecast(targets(items, space, seen, **options), H, LEVELS)


def error(made: Any, items: Family) -> float:
    return float(np.abs(np.log(made.level / items.level)).mean())


def test_level_season_and_coverage_are_the_familys(
    learnt: tuple[ColdModel, FeatureSpace], hidden: Family, donors: Family
) -> None:
    made = forecast(learnt, hidden)
    # Truth: a category's level differs from the expected one by the item's own part only.
    expected = np.array([OF_CATEGORY[c] for c in hidden.category if c]) + ELASTICITY * np.log(hidden.price)
    assert np.abs(np.log(made.level) - expected).mean() < 0.08
    assert np.median(made.error) == pytest.approx(OWN_LEVEL, abs=0.06)
    shape = made.mean / made.mean.mean(axis=1, keepdims=True)
    truth = SHAPE[(NOW + np.arange(H)) % SEASON]
    assert np.abs(shape - truth).max() < 0.12
    assert np.abs(shape - truth).mean() < 0.03
    inside = (hidden.future >= made.quantiles[:, :, 0]) & (hidden.future <= made.quantiles[:, :, 2])
    assert inside.mean() == pytest.approx(0.8, abs=0.05)
    assert (hidden.future <= made.quantiles[:, :, 1]).mean() == pytest.approx(0.5, abs=0.07)
    assert made.mean.mean() == pytest.approx(hidden.future.mean(), rel=0.25)
    np.testing.assert_allclose(made.weights.sum(axis=1), 1.0)
    same = [[donors.category[d] == hidden.category[i] for d in row] for i, row in enumerate(made.neighbours)]
    assert np.mean(same) == 1.0
    assert np.abs(np.log(donors.price[made.neighbours]) - np.log(hidden.price)[:, None]).mean() < 0.3


def test_own_history_takes_over_as_it_grows(learnt: tuple[ColdModel, FeatureSpace], hidden: Family) -> None:
    made = {seen: forecast(learnt, hidden, seen) for seen in (0, 1, 2, 4, 8)}
    errors = [error(m, hidden) for m in made.values()]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2
    own = [m.own.mean() for m in made.values()]
    assert own[0] == 0.0
    assert own == sorted(own)
    # By hand: the noise of the mean seen and of the horizon's, against the variance of the regression's error.
    for seen in (1, 2, 4, 8):
        mistrust = NOISE**2 / seen + NOISE**2 / H
        assert made[seen].own.mean() == pytest.approx(OWN_LEVEL**2 / (OWN_LEVEL**2 + mistrust), abs=0.08)
        inside = (hidden.future >= made[seen].quantiles[:, :, 0]) & (hidden.future <= made[seen].quantiles[:, :, 2])
        assert inside.mean() == pytest.approx(0.8, abs=0.05)


def test_unknown_category_widens(learnt: tuple[ColdModel, FeatureSpace], hidden: Family) -> None:
    strange = replace(hidden, category=["chalk"] * len(hidden.names))
    made, usual = forecast(learnt, strange), forecast(learnt, hidden)
    assert np.isfinite(made.quantiles).all()
    assert (made.error > 2 * usual.error).all()
    centre = np.mean(list(OF_CATEGORY.values())) + ELASTICITY * np.log(hidden.price)
    assert np.abs(np.log(made.level) - centre).max() < 0.5
    missing: list[str | None] = [None] * len(hidden.names)
    unknown = forecast(learnt, replace(hidden, category=missing))
    np.testing.assert_array_equal(unknown.level, made.level)


def test_without_metadata_all_donors_are_equally_near(donors: Family, hidden: Family) -> None:
    model, space = fitted(donors, features=False)
    made = model.forecast(targets(hidden, space, features=False), H, LEVELS)
    np.testing.assert_allclose(made.weights, 1 / 20)
    assert len(np.unique(made.neighbours)) == len(donors.names)
    np.testing.assert_allclose(made.level, np.exp(np.log(donors.values[:, -SEASON:].mean(axis=1)).mean()))
    shape = made.mean / made.mean.mean(axis=1, keepdims=True)
    assert np.abs(shape - SHAPE[(NOW + np.arange(H)) % SEASON]).max() < 0.15


def test_zeros_stay_zeros(donors: Family, hidden: Family) -> None:
    nothing, space = fitted(donors, values=np.zeros_like(donors.values))
    made = nothing.forecast(targets(hidden, space), H, LEVELS)
    assert (made.mean == 0).all()
    assert (made.quantiles == 0).all()
    sold = nothing.forecast(targets(hidden, space, 3), H, LEVELS)
    np.testing.assert_allclose(sold.level, hidden.values[:, -3:].mean(axis=1), rtol=1e-6)
    assert (sold.mean > 0).all()
    # Nine of ten periods without a sale: so are the forecast's lower quantiles, and its mean is right.
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((300, 48)) < 0.1, 1.0 + rng.poisson(2.0, (300, 48)), 0.0)
    rare, space = fitted(family(300, 5), values=counts, features=False)
    made = rare.forecast(targets(hidden, space, features=False), H, (0.1, 0.5, 0.85, 0.95))
    assert (made.quantiles[:, :, :3] == 0).all()
    assert (made.quantiles[:, :, 3] > 0).mean() > 0.9
    assert made.mean.mean() == pytest.approx(counts.mean(), rel=0.25)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_scale_does_not_matter(
    learnt: tuple[ColdModel, FeatureSpace], donors: Family, hidden: Family, scale: float
) -> None:
    model, space = fitted(donors, scale=scale)
    for seen in (0, 3):
        made = model.forecast(targets(hidden, space, seen, scale=scale), H, LEVELS)
        usual = forecast(learnt, hidden, seen)
        np.testing.assert_allclose(made.mean / scale, usual.mean, rtol=1e-6)
        np.testing.assert_allclose(made.quantiles / scale, usual.quantiles, rtol=1e-6)


def test_values_below_zero_add_up(donors: Family, hidden: Family) -> None:
    """Temperatures: level by category, a season that is added."""
    rng = np.random.default_rng(3)
    level = np.array([{"coffee": -20.0, "tea": 5.0}.get(str(c), 30.0) for c in donors.category])
    season = 10 * np.sin(2 * np.pi * np.arange(NOW - 48, NOW) / SEASON)
    values = level[:, None] + season + rng.normal(0, 1, donors.values.shape) + rng.normal(0, 2, (len(level), 1))
    model, space = fitted(donors, values=values)
    assert model.additive
    made = model.forecast(targets(hidden, space), H, LEVELS)
    truth = np.array([{"coffee": -20.0, "tea": 5.0}.get(str(c), 30.0) for c in hidden.category])
    expected = truth[:, None] + 10 * np.sin(2 * np.pi * np.arange(NOW, NOW + H) / SEASON)
    assert np.abs(made.mean - expected).mean() < 1.0
    future = expected + rng.normal(0, 1, expected.shape) + rng.normal(0, 2, (len(truth), 1))
    inside = (future >= made.quantiles[:, :, 0]) & (future <= made.quantiles[:, :, 2])
    assert inside.mean() == pytest.approx(0.8, abs=0.06)


def test_launches_rise_as_the_donors_did(donors: Family, hidden: Family) -> None:
    """A third of the level in the first month, all of it from the tenth on."""
    n, periods = donors.values.shape
    ramp = np.minimum(1.0, (1 + np.arange(periods)) / 10) * np.exp(
        np.random.default_rng(2).normal(0, 0.1, (n, periods))
    )
    model, space = fitted(donors, values=ramp * donors.level[:, None])
    model = fit_cold(replace(model.pool, launched=np.ones(n, dtype=np.int64)), MONTHS, enough=12)
    made = model.forecast(targets(hidden, space), H, LEVELS)
    expected = np.minimum(1.0, (1 + np.arange(H)) / 10)
    shape = made.mean / made.level[:, None]
    assert np.abs(shape.mean(axis=0) - expected).max() < 0.15
    later = model.forecast(targets(hidden, space, 4), H, LEVELS)  # four months old: it goes on from there
    assert (
        np.abs((later.mean / later.level[:, None]).mean(axis=0) - np.minimum(1.0, (5 + np.arange(H)) / 10)).max()
        < 0.15
    )


def test_a_target_does_not_depend_on_the_others(learnt: tuple[ColdModel, FeatureSpace], hidden: Family) -> None:
    order = np.random.default_rng(1).permutation(len(hidden.names))
    whole, mixed = forecast(learnt, hidden, 2), forecast(learnt, hidden.take(order), 2)
    for name in ("mean", "quantiles", "neighbours", "weights", "level", "own"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(whole, name)[order])
    alone = forecast(learnt, hidden.take([7]), 2)
    np.testing.assert_array_equal(alone.quantiles[0], whole.quantiles[7])


def test_what_comes_after_the_cut_does_not_matter(donors: Family, hidden: Family) -> None:
    model, space = fitted(donors)
    changed = donors.values.copy()
    changed[:, -6:] *= 100
    other, _ = fitted(donors, values=changed)
    cut: Int64Array = np.full(len(donors.names), donors.values.shape[1] - 6)
    asked = replace(targets(hidden, space), first_step=np.full(len(hidden.names), NOW - 6))
    made = [fit_cold(m.pool, MONTHS, cut, enough=12).forecast(asked, H, LEVELS) for m in (model, other)]
    np.testing.assert_array_equal(made[0].quantiles, made[1].quantiles)
    assert not np.array_equal(fit_cold(other.pool, MONTHS).level, fit_cold(model.pool, MONTHS).level)


def test_no_donors() -> None:
    nobody = family(3, 1).take([])
    model, space = fitted(nobody)
    assert model.donors == 0
    with pytest.raises(ValueError, match="no donors"):
        model.forecast(targets(family(2, 1), space), H, LEVELS)
    one, space = fitted(family(3, 1).take([0]))
    made = one.forecast(targets(family(2, 2), space), H, LEVELS)
    assert np.isfinite(made.quantiles).all()
    assert (np.diff(made.quantiles, axis=2) > 0).all()


def test_features() -> None:
    texts = {
        "kind": ["a", "a", "b", "b", None, "c"],
        "size": ["1", "2", "1", "2", "1", "2"],
        "weight": ["1.5", "2", "3", "4", "5", "6"],
    }
    space = FeatureSpace.of(texts, {"price": np.array([1.0, 2, 4, 8, np.nan, 16])})
    assert {name: set(known) for name, known in space.categories.items()} == {"kind": {"a", "b"}, "size": {"1", "2"}}
    made = space.encode({"kind": ["b", "c", None]}, {"price": np.array([4.0, -1.0, np.nan])}, 3)
    np.testing.assert_array_equal(made.codes, [[1, -1], [-1, -1], [-1, -1]])
    logs = np.log([1.0, 2, 4, 8, 16])
    np.testing.assert_allclose(made.numbers[:, 0], [(np.log(4) - logs.mean()) / logs.std(), np.nan, np.nan])
    many = FeatureSpace.of({"income": [str(i / 7) for i in range(20)]})
    assert not many.categories
    assert set(many.scaled) == {"income"}
    named = FeatureSpace.of({"store": [str(i // 2) for i in range(40)]}, identifiers=["store"])
    assert len(named.categories["store"]) == 20
    same = FeatureSpace.of({}, {"price": np.full(5, 3.0)})
    assert not same.scaled


def test_levels_beside_normal_equations(donors: Family) -> None:
    """The posterior effects solve the ridge equations of their own variances; a plain solve."""
    _, space = fitted(donors)
    features = space.encode({"category": donors.category}, {"price": donors.price}, len(donors.names))
    y = np.log(donors.level)
    model = fit_levels(y, features, space.sizes)
    design = np.array(
        [[*(float(c == k) for k in range(3)), z] for (c,), (z,) in zip(features.codes, features.numbers, strict=True)]
    )
    x = design - design.mean(axis=0)
    prior = np.repeat(model.of_column, [3, 1])
    error = (y - y.mean()) - x @ model.effects
    sigma2 = model.residual  # close to what was used inside: the left-out errors' own
    by_hand = np.linalg.solve(x.T @ x + np.diag(sigma2 / prior), x.T @ (y - y.mean()))
    np.testing.assert_allclose(model.effects, by_hand, rtol=0.05, atol=0.01)
    assert model.residual == pytest.approx(OWN_LEVEL**2, rel=0.3)
    assert error.std() == pytest.approx(OWN_LEVEL, rel=0.2)
    # Left out one by one, the errors are what the model says they are.
    errors, said = [], []
    for i in range(0, len(y), 5):
        rest = np.flatnonzero(np.arange(len(y)) != i)
        mean, variance = fit_levels(y[rest], features.take(rest), space.sizes).predict(features.take(np.array([i])))
        errors.append(y[i] - mean[0])
        said.append(variance[0])
    assert np.mean(np.square(errors) / said) == pytest.approx(1.0, abs=0.5)


def test_importance_by_hand() -> None:
    rng = np.random.default_rng(1)
    kind = ["a"] * 20 + ["b"] * 20 + ["c"] * 20
    noise = [str(k) for k in rng.integers(0, 4, 60)]
    y = np.repeat([0.0, 3.0, 5.0], 20) + rng.normal(0, 1, 60)
    space = FeatureSpace.of({"kind": kind, "noise": noise})
    found = importance(y[:, None], space.encode({"kind": kind, "noise": noise}, None, 60), space.sizes)
    by_hand = []
    for column in (kind, noise):
        groups = {k: [v for v, c in zip(y, column, strict=True) if c == k] for k in set(column)}
        between = sum(len(g) * (np.mean(g) - y.mean()) ** 2 for g in groups.values())
        within = sum(sum((v - np.mean(g)) ** 2 for v in g) for g in groups.values()) / (60 - len(groups))
        by_hand.append(max((between - (len(groups) - 1) * within) / (((y - y.mean()) ** 2).sum() + within), 0))
    np.testing.assert_allclose(found, np.array(by_hand) / sum(by_hand))
    assert found[0] > 0.9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 100)), min_size=1, max_size=12),
    st.floats(0.01, 0.99),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_mixture_quantile_beside_all_products(values: list[float], share: float, spread: float, seed: int) -> None:
    """The weighted quantile of every sample times every error, by sorting them."""
    found = np.sort(np.array(values))
    weights = np.random.default_rng(seed).random(len(found)) + 0.1
    weights /= weights.sum()
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    cumulative /= cumulative[-1]
    errors = np.exp(spread * NORMAL_NODES)
    made = mixture_quantile(share, found, cumulative, errors, False)
    pairs = sorted((v * e, w / len(errors)) for v, w in zip(found, weights, strict=True) for e in errors)
    below = sum(w for v, w in pairs if v <= made * (1 + 1e-6) + 1e-300)
    above = sum(w for v, w in pairs if v < made * (1 - 1e-6))
    assert below >= share - 1e-6
    assert above <= share + 1e-6
