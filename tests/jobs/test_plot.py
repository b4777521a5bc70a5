"""Pictures: what goes into them, that they are drawn, and the distribution behind one step."""

from __future__ import annotations

import builtins
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
import result_table as made
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from forecasting.evaluation.distribution import Distribution
from jobs.plot import plot
from jobs.reading import run_to_read
from udfs.errors import InputError
from udfs.fan import read_fan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from udfs.config import Config
    from udfs.lake import Lake


@pytest.fixture(scope="module")
def built(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Lake]:
    return made.derived_lake(spark, tmp_path_factory)


@pytest.mark.spark
def test_what_is_drawn(built: tuple[Config, Lake]) -> None:
    _, lake = built
    fan = read_fan(lake, run_to_read(lake, None), "A/s1")
    assert fan.values.tolist() == list(range(made.LENGTH))
    assert fan.times[-1] + np.timedelta64(1, "D") == fan.steps[0] == np.datetime64(made.FORECAST_START)
    assert (fan.model, fan.mean.tolist(), fan.quantiles[0].tolist()) == (
        "naive",
        [12.0, 13.0, 14.0],
        [11.0, 12.0, 13.0],
    )
    assert np.isnan(fan.actuals).all()
    late = read_fan(lake, run_to_read(lake, made.RUN), "B/s1")
    assert late.model == "seasonal_naive"


@pytest.mark.spark
def test_pictures(spark: SparkSession, built: tuple[Config, Lake], tmp_path: Path) -> None:
    fan = plot(built[0], "A/s1", tmp_path / "new" / "fan.png", spark)
    step = plot(built[0], "A/s1", str(tmp_path / "step.png"), spark, step=2)
    images = [matplotlib.image.imread(path) for path in (fan, step)]
    assert all(image.shape[:2] == (720, 1650) and len(np.unique(image[..., :3])) > 50 for image in images)
    assert plot(built[0], "C/s2", tmp_path / "fan.svg", spark).read_text().startswith("<?xml")


@pytest.mark.spark
@pytest.mark.parametrize(
    ("item", "options", "message"),
    [
        ("a/s1", {}, r"not in the lake.*item_id, store.*The nearest: A/s1"),
        ("A", {}, "not in the lake"),
        ("A/s1/x", {}, "not in the lake"),
        ("E/s2", {}, "has no forecast in run .*: failed, no_observations"),
        ("A/s1", {"step": 4}, "the forecast has steps 1 to 3"),
        ("A/s1", {"out": "fan.txt"}, "has no known ending"),
        ("A/s1", {"run_id": "nobody"}, "no run 'nobody'"),
    ],
)
def test_what_cannot_be_drawn(
    spark: SparkSession, built: tuple[Config, Lake], tmp_path: Path, item: str, options: dict[str, Any], message: str
) -> None:
    out = tmp_path / options.pop("out", "fan.png")
    with pytest.raises(InputError, match=message):
        plot(built[0], item, out, spark, **options)
    assert not out.exists()


@pytest.mark.spark
def test_matplotlib_is_an_extra(
    spark: SparkSession, built: tuple[Config, Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"install almanac\[plot\]"):
        plot(built[0], "A/s1", tmp_path / "fan.png", spark)


# --- the distribution ---


@pytest.mark.parametrize("levels", [(0.1, 0.5, 0.9), (0.025, 0.3, 0.6, 0.99)])
def test_a_normal_distribution_is_found_again(levels: tuple[float, ...]) -> None:
    law = norm(50, 7)
    found = Distribution.of(levels, law.ppf(levels))
    p = np.linspace(0.001, 0.999, 200)
    np.testing.assert_allclose(found.quantile(p), law.ppf(p), rtol=1e-9)
    x, density = found.density()
    np.testing.assert_allclose(density, law.pdf(x), rtol=1e-6)
    np.testing.assert_allclose(found.cumulative(law.ppf(p)), p, atol=1e-4)
    assert found.atoms == ()


quantiles = st.lists(st.floats(-100, 100).map(lambda v: round(v, 2)), min_size=3, max_size=3).map(sorted)


@given(quantiles, st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_quantiles_make_a_law(values: list[float], bounded: bool) -> None:
    """Monotone, through the given quantiles, with all mass accounted for, and inside the bounds."""
    lower = values[0] if bounded else None
    law = Distribution.of((0.1, 0.5, 0.9), values, lower=lower)
    p = np.linspace(0.001, 0.999, 999)
    x = law.quantile(p)
    assert (np.diff(x) >= -1e-12 * max(1.0, np.abs(values).max())).all()
    np.testing.assert_allclose(law.quantile([0.1, 0.5, 0.9]), values, rtol=1e-9, atol=1e-9)
    if lower is not None:
        assert x.min() >= lower
    at, density = law.density()
    continuous = np.trapezoid(density, at) if len(at) > 1 else 0.0
    if all(b - a > 0.5 for a, b in itertools.pairwise(values)):
        assert continuous + sum(mass for _, mass in law.atoms) == pytest.approx(1.0, abs=0.02)


def test_equal_quantiles_are_a_point_mass() -> None:
    law = Distribution.of((0.1, 0.5, 0.9), (0.0, 0.0, 4.0), lower=0.0)
    ((value, mass),) = law.atoms
    assert value == 0.0
    assert mass == pytest.approx(0.5, abs=0.001)
    assert law.cumulative([-1.0, 0.0, 4.0]) == pytest.approx([0.0, 0.5, 0.9], abs=0.002)
    whole = Distribution.of((0.1, 0.5, 0.9), (3.0, 3.0, 3.0))
    assert whole.atoms == ((3.0, pytest.approx(1.0)),)
    assert len(whole.density()[0]) == 0


@pytest.mark.parametrize(
    ("levels", "values"),
    [((0.5,), (1.0,)), ((0.1, 0.9), (2.0, 1.0)), ((0.9, 0.1), (1.0, 2.0)), ((0.1, 0.9), (1.0, float("nan")))],
)
def test_what_is_no_distribution(levels: tuple[float, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Distribution.of(levels, values)
