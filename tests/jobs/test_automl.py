"""Choosing end to end: modes, weights, predictors, covariates and mistakes, beside plain loops over the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from series_table import history, local_batch, record, write_series

from forecasting import Bounds, fit
from jobs.backtest import backtest
from jobs.forecast import forecast
from jobs.leaderboard import leaderboard, render
from jobs.run import run
from jobs.select import select
from udfs.config import Config, ConfigError, load_config
from udfs.derive import derive_metrics, derive_selection
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.runs import Run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
H, W = 7, 3
MODELS: dict[str, Any] = {"naive": {}, "seasonal_naive": {}, "mean": {}, "empirical": {}}
MODES = ("ensemble", "best_per_series", "best_per_segment", "best_overall", "mean", "median")


def trending(seed: int, length: int) -> list[float]:
    """A walk without a season."""
    return [float(v) for v in 100 + np.cumsum(np.random.default_rng(seed).normal(1, 1, length))]


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    seasonal = [record(f"s{k}", history(k, 80), shop="north") for k in range(5)]
    walks = [record(f"w{k}", trending(k, 80), shop="south") for k in range(5)]
    return [*seasonal, *walks, record("young", history(9, 12), shop="north")]


@pytest.fixture(scope="module")
def made(
    spark: SparkSession, records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Config, Lake, Run]]:
    """A run of the series by a mode; each is made once."""
    known: dict[tuple[str, str], tuple[Config, Lake, Run]] = {}

    def make(mode: str, calibration: str = "none") -> tuple[Config, Lake, Run]:
        if (mode, calibration) not in known:
            config = load_config(settings(tmp_path_factory.mktemp(mode), mode=mode, calibration=calibration))
            lake = write_series(spark, config, records)
            backtest(config, spark)
            select(config, spark)
            known[mode, calibration] = config, lake, forecast(config, spark)
        return known[mode, calibration]

    return make


def settings(folder: Path, *, mode: str, calibration: str = "none", **sections: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "dataset_group": "automl",
        "frequency": "D",
        "dimensions": ["shop"],
        "horizon": H,
        "forecast_start": "per_series",
        "quantiles": [0.1, 0.5, 0.9],
        "data": {"target": {"path": str(folder / "target.csv")}},
        "models": MODELS,
        "backtest": {"windows": W, "min_history": 14},
        "selection": {"mode": mode, "segment_by": ["shop"]},
        "calibration": {"method": calibration},
        "bounds": {"lower": 0.0},
        "limits": {"max_failed_share": 1.0},
        "lake": {"path": str(folder / "lake"), "buckets": 2},
        "seed": 5,
    }
    return content | sections


def decisions(lake: Lake, run: Run) -> dict[str, Any]:
    return {r["item_id"]: r for r in lake.read("selection").where(f"run_id = '{run.run_id}'").collect()}


def backtests(lake: Lake, run: Run, stage: str = "backtest") -> dict[tuple[str, str, int], Any]:
    rows = lake.read("results").where(f"run_id = '{run.run_id}' AND stage = '{stage}'").collect()
    return {(r["item_id"], r["model"], r["window"]): r for r in rows}


def by_other_windows(config: Config, lake: Lake, run: Run, window: int) -> dict[str, dict[str, float]]:
    """item -> weights without a window: all candidates alike, the smallest summed loss of a segment, or what is found
    where the results never had it."""
    from pyspark.sql import functions as F

    chosen, mode = decisions(lake, run), config.selection.mode
    if mode in ("mean", "median"):
        return {item: row["weights"] for item, row in chosen.items()}
    if mode in ("best_overall", "best_per_segment"):
        return {i: {m: 1.0} for i, m in _best_of_groups(config, lake, run, without=window).items()}
    fresh = f"{run.run_id}-{window}"
    if not lake.read("selection").where(f"run_id = '{fresh}'").count():
        rows = lake.read("results").where(f"run_id = '{run.run_id}' AND stage = 'backtest' AND window != {window}")
        lake.append("results", rows.withColumn("run_id", F.lit(fresh)))
        derive_selection(lake, fresh, config)
    return {r["item_id"]: r["weights"] for r in lake.read("selection").where(f"run_id = '{fresh}'").collect()}


def combined(mode: str, weights: dict[str, float], of_model: Callable[[str], np.ndarray[Any, Any]]) -> Any:
    """What the members' numbers become: their weighted mean, their trimmed mean, or their median; a plain loop."""
    members = [of_model(name) for name in weights]
    if mode == "median":
        return np.median(members, axis=0)
    if mode == "mean":  # a quarter of the models left out at each end
        cut = int(len(members) * 0.25)
        return np.sort(members, axis=0)[cut : len(members) - cut].mean(axis=0)
    return np.sum([weights[name] * numbers for name, numbers in zip(weights, members, strict=True)], axis=0)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_forecast_and_what_is_scored_are_the_members_combined(
    made: Any, records: list[dict[str, Any]], mode: str
) -> None:
    config, lake, run = made(mode)
    chosen, tests, selected = decisions(lake, run), backtests(lake, run), backtests(lake, run, "selection")
    assert set(chosen) == {r["item_id"] for r in records}
    batch = local_batch(config, records)
    local = {m: fit(batch, m, seed=5).predict(H, config.quantiles, bounds=Bounds(lower=0.0)) for m in MODELS}
    rows = lake.read("forecasts").where(f"run_id = '{run.run_id}'").toPandas().set_index(["item_id", "step"])
    others = {window: by_other_windows(config, lake, run, window) for window in range(1, W + 1)}
    for i, item in enumerate(r["item_id"] for r in records):
        weights = chosen[item]["weights"]
        assert sum(weights.values()) == pytest.approx(1.0)
        assert min(weights.values()) > 0
        several = len(weights) > 1
        assert chosen[item]["model"] == ("ensemble" if several else next(iter(weights)))
        mine = rows.loc[item].sort_index()
        np.testing.assert_allclose(mine["mean"], combined(mode, weights, lambda m, i=i: local[m].mean[i]), rtol=1e-9)
        expected = np.sort(combined(mode, weights, lambda m, i=i: local[m].quantiles[i]), axis=1)
        np.testing.assert_allclose(mine[["p10", "p50", "p90"]], expected, rtol=1e-9, atol=1e-9)
        assert set(mine["model"]) == {chosen[item]["model"]}
        for window in range(1, W + 1):
            if item == "young":
                assert (item, "selected", window) not in selected
                continue
            row = selected[item, "selected", window]
            of_others = others[window][item]  # what is scored was not fitted to the window
            numbers = combined(mode, of_others, lambda m, w=window, i=item: np.array(tests[i, m, w]["quantiles"]))
            np.testing.assert_allclose(row["quantiles"], numbers, rtol=1e-9, atol=1e-9)
            assert row["mase_scale"] == tests[item, "naive", window]["mase_scale"]
            assert row["rmsse_scale"] == tests[item, "naive", window]["rmsse_scale"]
            assert row["status"] == "ok"


@pytest.mark.parametrize("mode", ["best_per_series", "ensemble"])
def test_log_loss_of_what_was_selected_is_the_chosen_models_own_where_it_is_one(made: Any, mode: str) -> None:
    config, lake, run = made(mode)
    others = {window: by_other_windows(config, lake, run, window) for window in range(1, W + 1)}
    where = f"run_id = '{run.run_id}' AND scope = 'item' AND window > 0"
    metrics = {(r["item_id"], r["model"], r["window"]): r for r in lake.read("metrics").where(where).collect()}
    own = backtests(lake, run)
    seen = set()
    for (item, model, window), row in metrics.items():
        if model != "selected":
            continue
        source = row["log_loss_source"]
        seen.add(source)
        if mode == "ensemble":
            assert source == "quantiles"
            continue
        (name,) = others[window][item]
        density = own[item, name, window]["log_density"]
        assert source == ("quantiles" if density is None else "model")
        expected = metrics[item, name, window]["log_loss"]
        if density is not None:  # every density here is finite
            known = [-d for d, y in zip(density, own[item, name, window]["actuals"], strict=True) if not np.isnan(y)]
            assert expected == pytest.approx(sum(known) / len(known))
        assert row["log_loss"] == pytest.approx(expected, rel=1e-12)
    assert ("model" if mode == "best_per_series" else "quantiles") in seen
    assert config.calibration.method == "none"


@pytest.mark.parametrize("mode", ["best_per_series", "ensemble"])
def test_metrics_by_the_statistics_that_tasks_wrote_are_those_of_the_arrays(made: Any, mode: str) -> None:
    _, lake, run = made(mode)
    assert run.plan.statistics
    derived = lake.read("metrics").where(f"run_id = '{run.run_id}'").toPandas()
    fresh = f"{run.run_id}-arrays"  # a run that nothing is known of
    stored = lake.read("results").where(f"run_id = '{run.run_id}' AND stage <> 'forecast'")
    lake.append("results", stored.drop("statistics", "step_statistics").selectExpr(
        "* EXCEPT (run_id)", f"'{fresh}' AS run_id", "cast(NULL AS binary) AS statistics",
        "cast(NULL AS binary) AS step_statistics",
    ))  # fmt: skip
    derive_metrics(lake, fresh, made(mode)[0])
    made_anew = lake.read("metrics").where(f"run_id = '{fresh}'").toPandas()
    assert set(derived["scope"]) == {"item", "step", "total"}
    order = ["scope", "model", "window", "attribute", "value", "step", "item_id", "shop"]
    tables = [frame.sort_values(order).reset_index(drop=True) for frame in (derived, made_anew)]
    assert len(tables[0]) == len(tables[1])
    for column in tables[0].columns.drop("run_id"):
        one, other = (table[column] for table in tables)
        if one.map(lambda v: isinstance(v, float)).all():
            np.testing.assert_allclose(one, other, rtol=1e-12, err_msg=column)
        else:
            assert [repr(v) for v in one] == [repr(v) for v in other], column


def test_one_window_is_scored_in_sample_and_the_leaderboard_says_so(
    spark: SparkSession, records: list[dict[str, Any]], made: Any, tmp_path: Path
) -> None:
    config = load_config(settings(tmp_path, mode="ensemble", backtest={"windows": 1, "min_history": 14}))
    lake = write_series(spark, config, records)
    run = backtest(config, spark)
    select(config, spark)
    chosen, tests = decisions(lake, run), backtests(lake, run)
    for (item, _, window), row in backtests(lake, run, "selection").items():
        weights = chosen[item]["weights"]
        numbers = combined("ensemble", weights, lambda m, i=item, w=window: np.array(tests[i, m, w]["quantiles"]))
        np.testing.assert_allclose(row["quantiles"], numbers, rtol=1e-9, atol=1e-9)
    for windows, board in ((1, leaderboard(config, spark)), (W, leaderboard(made("ensemble")[0], spark))):
        assert board.in_sample == (windows == 1)
        out = StringIO()
        render(board, "table", Console(file=out, width=200))
        assert ("scored in sample" in out.getvalue()) == (windows == 1)


def _losses(config: Config, lake: Lake, run: Run, without: int = 0) -> dict[str, dict[str, float]]:
    """item -> model -> summed quantile loss over the windows but one, by a plain loop."""
    out: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (item, model, window), row in backtests(lake, run).items():
        if row["status"] == "skipped" or window == without:
            continue
        table = np.reshape(row["quantiles"], (H, len(config.quantiles)))
        for y, line in zip(row["actuals"], table, strict=True):
            for q, level in zip(line, config.quantiles, strict=True):
                if not np.isnan(y):
                    out[item][model] += max(level * (y - q), (level - 1) * (y - q))
    return out


def _best_of_groups(config: Config, lake: Lake, run: Run, without: int = 0) -> dict[str, str]:
    """item -> the model with the smallest loss over all series, or over those of its segment."""
    losses, chosen = _losses(config, lake, run, without), decisions(lake, run)
    overall = config.selection.mode == "best_overall"
    groups: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for item, of_model in losses.items():
        for model, loss in of_model.items():
            groups["" if overall else chosen[item]["segment"]][model] += loss
    assert len(groups) == (1 if overall else 2)
    of_group = {name: min(of, key=lambda m, of=of: of[m]) for name, of in groups.items()}
    return {item: of_group["" if overall else chosen[item]["segment"]] for item in losses}


def test_one_model_for_all_and_one_a_segment_have_the_smallest_summed_loss(made: Any) -> None:
    for mode in ("best_overall", "best_per_segment"):
        config, lake, run = made(mode)
        chosen = decisions(lake, run)
        for item, model in _best_of_groups(config, lake, run).items():
            assert chosen[item]["model"] == model
            assert chosen[item]["reason"] == ("best_overall" if mode == "best_overall" else "best_in_segment")


def test_a_series_too_short_for_any_window_takes_what_its_segment_takes(made: Any) -> None:
    for mode in ("best_per_segment", "ensemble"):
        _, lake, run = made(mode)
        chosen = decisions(lake, run)
        young = chosen["young"]
        assert young["reason"] in ("no_scores", "best_in_segment")
        assert young["score"] is None
        if mode == "best_per_segment":
            assert young["model"] == chosen["s0"]["model"]
        else:  # the segment's weights alone, which every series of it has a half of
            assert set(young["weights"]) <= set().union(*(chosen[f"s{k}"]["weights"] for k in range(5)))
        rows = lake.read("forecasts").where(f"run_id = '{run.run_id}' AND item_id = 'young'").collect()
        assert len(rows) == H
    skipped = [r for (item, *_), r in backtests(lake, run).items() if item == "young"]
    assert {(r["status"], r["reason"]) for r in skipped} == {("skipped", "short_history")}


def test_the_ensemble_beats_the_best_single_model_where_kinds_of_series_differ(made: Any) -> None:
    scores = {}
    for mode in ("ensemble", "best_overall"):
        _, lake, run = made(mode)
        where = f"run_id = '{run.run_id}' AND scope = 'total' AND window = -1 AND model = 'selected'"
        scores[mode] = lake.read("metrics").where(where).first()["mean_wQL"]
    assert scores["ensemble"] < scores["best_overall"]


def test_calibration_keeps_its_table_and_its_order(made: Any) -> None:
    _, lake, run = made("ensemble", "conformal")
    table = lake.read("calibration").where(f"run_id = '{run.run_id}'").collect()
    assert {r["segment"] for r in table} == {"north", "south"}
    for row in backtests(lake, run, "selection").values():
        quantiles = np.reshape(row["quantiles"], (H, 3))
        assert (np.diff(quantiles, axis=1) >= 0).all()
        assert (quantiles >= 0).all()
    plain = made("ensemble")
    before, after = backtests(*plain[1:], "selection"), backtests(lake, run, "selection")
    changed = [before[place]["quantiles"] != after[place]["quantiles"] for place in before]
    assert any(changed)


def test_a_predictor_forecasts_todays_data_by_what_it_decided(
    spark: SparkSession, records: list[dict[str, Any]], tmp_path: Path
) -> None:
    config = load_config(settings(tmp_path, mode="ensemble", calibration="conformal"))
    lake = write_series(spark, config, records)
    backtest(config, spark)
    select(config, spark)
    first = forecast(config, spark)
    longer = [record(r["item_id"], [*r["target"], *([50.0] * 3)], shop=r["shop"]) for r in records]  # three days later
    write_series(spark, config, longer)
    again = forecast(config, spark, predictor=first.run_id)
    assert again.run_id != first.run_id
    mine, theirs = decisions(lake, again), decisions(lake, first)
    assert {k: v["weights"] for k, v in mine.items()} == {k: v["weights"] for k, v in theirs.items()}
    assert {k: v["factors"] for k, v in mine.items()} == {k: v["factors"] for k, v in theirs.items()}
    starts = {
        r["timestamp"] for r in lake.read("forecasts").where(f"run_id = '{again.run_id}' AND step = 1").collect()
    }
    assert datetime(2024, 1, 1) + timedelta(days=83) in starts
    # the same data by the predictor gives the same numbers, one item alone as well
    write_series(spark, config, records)
    same = forecast(config, spark, predictor=first.run_id, items=["w1/south"])
    columns = ("step", "mean", "p10", "p50", "p90")
    read = {
        r.run_id: sorted(tuple(row[c] for c in columns) for row in lake.read("forecasts").where(
            f"run_id = '{r.run_id}' AND item_id = 'w1'").collect())
        for r in (first, same)
    }  # fmt: skip
    assert len(read[first.run_id]) == H
    assert read[first.run_id] == read[same.run_id]
    with pytest.raises(InputError, match=r"was made for horizon 7 .* asks for 9"):
        forecast(config, spark, predictor=first.run_id, overrides=["horizon=9"])
    with pytest.raises(InputError, match="no-such-run"):
        forecast(config, spark, predictor="no-such-run")


def test_a_covariate_is_kept_where_it_helps_and_left_where_it_does_not(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    shown = []
    for k in range(16):
        price = rng.choice([1.0, 2.0], 90 + H)
        moved = k < 4  # the price moves the demand of the shops in the north only
        y = 50 + rng.normal(0, 1, 90) - (20 * (price[:90] - 1.5) if moved else 0)
        shown.append(
            record(f"i{k}", y.tolist(), shop="north" if moved else "south", related={"price": price.tolist()})
        )
    related = [{"path": str(tmp_path / "price.csv"), "series": {"price": {"known_in_future": True}}}]
    content = settings(
        tmp_path,
        mode="best_per_series",
        models={"mean": {}, "arima": {"max_order": 2}},
        covariates={"price": ["price"]},
        data={"target": {"path": str(tmp_path / "target.csv")}, "related": related},
    )
    config = load_config(content)
    lake = write_series(spark, config, shown)
    backtest(config, spark)
    select(config, spark)
    done = forecast(config, spark)
    chosen = decisions(lake, done)
    tried = {model for _, model, _ in backtests(lake, done)}
    assert tried == {"mean", "arima", "arima+price"}
    assert {chosen[f"i{k}"]["model"] for k in range(4)} == {"arima+price"}
    assert {chosen[f"i{k}"]["model"] for k in range(4, 16)} <= {"arima", "mean"}
    rows = lake.read("forecasts").where(f"run_id = '{done.run_id}' AND item_id = 'i0'").orderBy("step").collect()
    price = np.array(shown[0]["related"]["price"][90:])
    effect = np.polyfit(price, [r["mean"] for r in rows], 1)[0]
    assert effect == pytest.approx(-20, abs=1.5)


def test_an_item_for_which_every_model_fails_is_helped_and_said_so(spark: SparkSession, tmp_path: Path) -> None:
    models = {"user_models:chokes_on_13": {}, "user_models:answers_wrongly": {}}
    config = load_config(settings(tmp_path, mode="ensemble", models=models, bounds={}))
    bad = [13.0, *history(1, 69)]
    good = trending(2, 70)  # which drift forecasts better than what stands in for a model that fails
    shown = [record("bad", [v if v == v else 50.0 for v in bad], shop="a"), record("good", good, shop="a")]
    lake = write_series(spark, config, shown)
    backtest(config, spark)
    select(config, spark)
    done = forecast(config, spark)
    rows = lake.read("forecasts").where(f"run_id = '{done.run_id}'").toPandas()
    assert rows.groupby("item_id").size().to_dict() == {"bad": H, "good": H}
    assert np.isfinite(rows[["mean", "p10", "p50", "p90"]].to_numpy()).all()
    stage = lake.read("results").where(f"run_id = '{done.run_id}' AND stage = 'forecast' AND mean IS NOT NULL")
    ledger = {r["item_id"]: r for r in stage.collect()}
    assert ledger["bad"]["status"] == "fallback"
    assert ledger["bad"]["reason"] in ("all_members_lost", "ArithmeticError: 13 is in the data")
    assert ledger["good"]["status"] == "ok"  # by the one of its models that can
    own = fit(local_batch(config, shown), "user_models:chokes_on_13").predict(H, config.quantiles)
    np.testing.assert_allclose(ledger["good"]["mean"], own.mean[1], rtol=1e-9)


def test_windows_that_fit_no_series_are_an_error_and_a_short_series_leans_on_the_others(
    spark: SparkSession, tmp_path: Path
) -> None:
    config = load_config(settings(tmp_path, mode="ensemble", horizon=30, backtest={"windows": 2}))
    short = [record(f"i{k}", history(k, 20), shop="a") for k in range(3)]
    lake = write_series(spark, config, short)
    with pytest.raises(InputError, match=r"2 backtest window.*60 periods.*20 periods.*fewer windows"):
        backtest(config, spark)
    lake = write_series(spark, config, [*short, record("long", history(7, 120), shop="a")])
    backtest(config, spark)
    select(config, spark)
    done = forecast(config, spark)
    status = {(item, row["status"]) for (item, *_), row in backtests(lake, done).items()}
    assert status == {("long", "ok"), *((f"i{k}", "skipped") for k in range(3))}
    chosen = decisions(lake, done)
    assert {chosen[f"i{k}"]["reason"] for k in range(3)} == {"no_scores"}
    assert lake.read("forecasts").where(f"run_id = '{done.run_id}'").count() == 4 * 30


def test_a_metric_and_a_mode_that_do_not_exist_are_errors_of_the_config(tmp_path: Path) -> None:
    content = settings(tmp_path, mode="best", selection={"mode": "best", "metric": "wql", "crowd": -1})
    with pytest.raises(ConfigError) as caught:
        load_config(content)
    text = str(caught.value)
    for expected in ("selection.mode", "selection.metric", "mean_wQL", "best_per_series", "selection.crowd"):
        assert expected in text


def test_fewer_actuals_than_the_horizon_are_scored_as_far_as_they_go(spark: SparkSession, make_config: Any) -> None:
    lines = ["item_id,timestamp,target"]
    lines += [f"a,2024-02-{d:02d},{d % 7}" for d in range(1, 29)]
    lines += [f"b,2024-02-{d:02d},{d % 5}" for d in range(1, 26)]  # ends three days before the common end
    content = make_config(forecast_start="global", fill={"target": {"back": "nan"}})
    Path(content["data"]["target"]["path"]).write_text("\n".join(lines))
    report = run(content, spark)
    lake = report.job.lake
    rows = lake.read("metrics").where("scope = 'item' AND window = 1 AND model = 'naive'").collect()
    points = {r["item_id"]: (r["n_points"], r["n_missing"]) for r in rows}
    assert points == {"a": (7, 0), "b": (4, 3)}
    starts = {r["timestamp"] for r in lake.read("forecasts").where("step = 1").collect()}
    assert starts == {datetime(2024, 2, 29)}
