"""Metrics against plain loops and against an independent scorer."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting import SeriesBatch, forecast
from forecasting.evaluation.metrics import COLUMNS, Kind, Layout, mase_scale, ratios, row_statistics
from forecasting.evaluation.windows import actuals
from forecasting.levels import quantile_column

NAN = np.nan
number = st.one_of(st.just(0.0), st.floats(-1e3, 1e3).map(lambda v: round(v, 3)))


@st.composite
def scored(draw):
    """mean [R, H], quantiles [R, H, Q], actual [R, H], scale [R], levels."""
    n, horizon = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    levels = draw(st.sampled_from([(0.5,), (0.1, 0.5, 0.9), (0.1, 0.9), (0.025, 0.1, 0.3, 0.9, 0.975)]))

    def array(element, *shape):
        flat = draw(st.lists(element, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        return np.array(flat).reshape(shape)

    mean = array(st.one_of(number, number, number, st.just(NAN)), n, horizon)
    quantiles = np.sort(array(number, n, horizon, len(levels)), axis=2)
    actual = array(st.one_of(number, number, st.just(NAN)), n, horizon)
    beside = {
        "rmsse_scale": array(st.sampled_from([NAN, 0.0, 0.25, 4.0]), n),
        "log_density": array(st.sampled_from([NAN, -np.inf, -2.0, 0.5]), n, horizon),
        "under": array(st.sampled_from([NAN, 0.0, 1.0, 8.0]), n),
        "over": array(st.sampled_from([NAN, 0.0, 1.0, 2.0]), n),
    }
    return mean, quantiles, actual, array(st.sampled_from([NAN, 0.0, 0.5, 3.0]), n), levels, beside


def plain_plan(f, under, over):
    """The forecast at the planning quantile, between the neighbouring levels."""
    return np.interp(under / (under + over), list(f), list(f.values()))


def plain_density(y, f, resolution):
    """The mass of the quantiles' distribution within half a resolution of y, over the resolution."""
    p, x = np.array(list(f)), np.array(list(f.values()))
    if len(p) < 2:
        return NAN
    lower = max((x[1] - x[0]) / np.log(p[1] / p[0]), resolution)
    upper = max((x[-1] - x[-2]) / np.log((1 - p[-2]) / (1 - p[-1])), resolution)

    def mass(low, high):  # added up piece by piece
        total = 0.0
        if low < x[0]:
            total += p[0] * (np.exp((min(high, x[0]) - x[0]) / lower) - np.exp((low - x[0]) / lower))
        if high > x[-1]:
            total += (1 - p[-1]) * (np.exp((x[-1] - max(low, x[-1])) / upper) - np.exp((x[-1] - high) / upper))
        for i in range(len(x) - 1):
            if x[i] == x[i + 1]:
                total += (p[i + 1] - p[i]) * (low < x[i] <= high)
            else:
                share = (min(high, x[i + 1]) - max(low, x[i])) / (x[i + 1] - x[i])
                total += (p[i + 1] - p[i]) * max(share, 0.0)
        return total

    return mass(y - resolution / 2, y + resolution / 2) / resolution


def plain_row(mean, quantiles, actual, scale, levels, rmsse_scale=NAN, log_density=None, under=NAN, over=NAN):
    """The statistics of one row by name, written out."""
    layout = Layout.of(levels)
    out = dict.fromkeys(layout.names, 0.0)
    out["n_missing"] = sum(np.isnan(y) for y in actual)
    good = [h for h in range(len(actual)) if not np.isnan(actual[h]) and not np.isnan(mean[h])]
    out["n_points"], out["n_rows"] = len(good), float(len(good) > 0)
    out["n_unforecast"] = len(actual) - len(good) - out["n_missing"]
    errors, squares, scores = [], [], {name: [] for name in layout.interval_names}
    sizes = [abs(y) for y in actual if not np.isnan(y)]
    unit = scale if scale > 0 else (np.mean(sizes) if sum(sizes) > 0 else 1.0)
    priced = under >= 0 and over >= 0 and under + over > 0
    for h in good:
        y, f = actual[h], dict(zip(levels, quantiles[h], strict=True))
        point = f.get(0.5, mean[h])
        errors.append(abs(y - point))
        squares.append((y - mean[h]) ** 2)
        out["abs_actual"] += abs(y)
        out["abs_error_median"] += abs(y - point)
        out["abs_error_mean"] += abs(y - mean[h])
        out["squared_error"] += (y - mean[h]) ** 2
        out["bias"] += mean[h] - y
        out["n_zero_actual"] += y == 0
        out["ape"] += abs(y - point) / abs(y) if y != 0 else 0
        out["sape"] += 200 * abs(y - point) / (abs(y) + abs(point)) if y != 0 or point != 0 else 0
        for q in levels:
            out[f"pinball_{quantile_column(q)}"] += q * (y - f[q]) if y > f[q] else (1 - q) * (f[q] - y)
            out[f"covered_{quantile_column(q)}"] += y <= f[q]
        for (i, j), name in zip(layout.intervals, layout.interval_names, strict=True):
            lower, upper, alpha = f[levels[i]], f[levels[j]], 1 - (levels[j] - levels[i])
            out[f"inside_{name}"] += lower <= y <= upper
            out[f"width_{name}"] += upper - lower
            below, above = 2 / alpha * (lower - y) * (y < lower), 2 / alpha * (y - upper) * (y > upper)
            scores[name].append(upper - lower + below + above)
        own = NAN if log_density is None else log_density[h]
        out["n_log_loss_model"] += np.isfinite(own)
        if len(levels) > 1 or np.isfinite(own):
            out["n_log_loss"] += 1
            with np.errstate(divide="ignore"):
                out["log_loss_sum"] -= own if np.isfinite(own) else np.log(plain_density(y, f, 0.01 * unit))
        if priced:
            out["n_cost"] += 1
            out["cost_under"] += under * max(y - plain_plan(f, under, over), 0)
            out["cost_over"] += over * max(plain_plan(f, under, over) - y, 0)
    out["n_zero_rows"] = float(len(good) > 0 and out["n_zero_actual"] == len(good))
    if good and scale > 0:
        out["mase"], out["n_mase"] = np.mean(errors) / scale, 1.0
        out |= {f"msis_{name}": np.mean(found) / scale for name, found in scores.items()}
    if good and rmsse_scale > 0:
        out["rmsse"], out["n_rmsse"] = np.sqrt(np.mean(squares) / rmsse_scale), 1.0
    return [out[name] for name in layout.names]


@settings(max_examples=300, deadline=None)
@given(case=scored())
def test_row_statistics_equal_a_plain_loop(case):
    mean, quantiles, actual, scale, levels, beside = case
    got = row_statistics(mean, quantiles, actual, scale, levels, **beside)
    want = [
        plain_row(mean[r], quantiles[r], actual[r], scale[r], levels, **{n: v[r] for n, v in beside.items()})
        for r in range(len(actual))
    ]
    far = np.isinf(want)  # the loop's density is 0 where ours goes on in logarithms
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[~far], np.array(want)[~far], rtol=1e-6, atol=1e-6)
    log = Layout.of(levels).names.index("log_loss_sum")
    others = np.arange(got.shape[1]) != log
    np.testing.assert_allclose(got[:, others], np.array(want)[:, others], rtol=1e-12, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(case=scored())
def test_the_sum_of_the_parts_gives_the_metrics_of_the_whole(case):
    mean, quantiles, actual, scale, levels, _ = case
    total = ratios(row_statistics(mean, quantiles, actual, scale, levels).sum(axis=0), levels)
    ok = np.isfinite(actual) & np.isfinite(mean)
    y, m, f = actual[ok], mean[ok], quantiles[ok]
    point = f[:, levels.index(0.5)] if 0.5 in levels else m
    want = {"n": len(y)}
    if len(y):
        want["RMSE"] = np.sqrt(np.mean((y - m) ** 2))
        want["bias"] = np.mean(m - y)
        loss = np.maximum(levels * (y[:, None] - f), (np.array(levels) - 1) * (y[:, None] - f))
        want |= {f"pinball_{quantile_column(q)}": loss[:, i].mean() for i, q in enumerate(levels)}
        want |= {f"coverage_{quantile_column(q)}": np.mean(y <= f[:, i]) for i, q in enumerate(levels)}
        if (0.1 in levels) and (0.9 in levels):
            want["width_80"] = np.mean(f[:, levels.index(0.9)] - f[:, levels.index(0.1)])
            want["coverage_80"] = np.mean((y >= f[:, levels.index(0.1)]) & (y <= f[:, levels.index(0.9)]))
    if np.abs(y).sum() > 0:
        want["WAPE"] = np.abs(y - point).sum() / np.abs(y).sum()
        want["WAPE_mean"] = np.abs(y - m).sum() / np.abs(y).sum()
        want["MAPE"] = np.mean(np.abs(y - point)[y != 0] / np.abs(y[y != 0]))
        losses = [2 * np.maximum(q * (y - f[:, i]), (q - 1) * (y - f[:, i])).sum() for i, q in enumerate(levels)]
        want |= {f"wQL_{quantile_column(q)}": losses[i] / np.abs(y).sum() for i, q in enumerate(levels)}
        want["mean_wQL"] = np.mean(losses) / np.abs(y).sum()
    for name, value in total.items():
        if name in want:
            np.testing.assert_allclose(value, want[name], rtol=1e-9, atol=1e-9, err_msg=name)
        elif name not in ("MASE", "sMAPE", "coverage_95", "width_95", "MSIS_80", "MSIS_95", "CRPS", "log_loss"):
            assert np.isnan(value), name


def test_wql_of_the_median_is_wape():
    rng = np.random.default_rng(1)
    quantiles, actual = np.sort(rng.gamma(2, 9, (20, 6, 3)), axis=2), rng.gamma(2, 9, (20, 6))
    total = ratios(
        row_statistics(quantiles[..., 1], quantiles, actual, np.ones(20), (0.1, 0.5, 0.9)).sum(0), (0.1, 0.5, 0.9)
    )
    assert total["wQL_p50"] == pytest.approx(total["WAPE"], rel=1e-12)


def test_all_zero_actuals_keep_their_numerators_and_have_no_ratio():
    levels = (0.1, 0.5, 0.9)
    quantiles = np.tile([0.0, 1.0, 2.0], (1, 4, 1))
    sums = row_statistics(np.ones((1, 4)), quantiles, np.zeros((1, 4)), [0.0], levels)[0]
    layout, found = Layout.of(levels), ratios(sums, levels)
    np.testing.assert_allclose(layout.part(sums, "pinball"), [0.0, 2.0, 0.8])
    assert all(np.isnan(found[m]) for m in ("mean_wQL", "wQL_p50", "WAPE", "WAPE_mean", "MAPE", "MASE"))
    assert (found["RMSE"], found["bias"], found["sMAPE"], found["coverage_p10"]) == (1.0, 1.0, 200.0, 1.0)
    assert layout.part(sums, "n_zero_actual") == 4


def test_missing_actuals_and_missing_forecasts_are_counted_and_not_scored():
    quantiles = np.array([[[1.0], [NAN], [1.0]], [[1.0], [1.0], [1.0]]])
    sums = row_statistics(np.ones((2, 3)), quantiles, np.array([[2.0, 2.0, NAN], [NAN] * 3]), np.ones(2), (0.5,))
    layout = Layout.of((0.5,))
    counts = {name: layout.part(sums, name).tolist() for name in ("n_rows", "n_points", "n_missing", "n_unforecast")}
    assert counts == {"n_rows": [1, 0], "n_points": [1, 0], "n_missing": [1, 3], "n_unforecast": [1, 0]}
    assert layout.part(sums, "n_mase").tolist() == [1, 0]
    assert all(np.isnan(value[1]) for value in ratios(sums, (0.5,)).values())


def test_leading_shapes_pass_through_and_wrong_ones_are_errors():
    mean = np.ones((2, 3, 4))
    out = row_statistics(mean, mean[..., None], mean, np.ones((2, 3)), (0.5,))
    assert out.shape == (2, 3, len(Layout.of((0.5,))))
    assert ratios(out.sum(axis=1), (0.5,))["RMSE"].shape == (2,)
    with pytest.raises(ValueError, match=r"expected .*\(2, 3, 4, 2\)"):
        row_statistics(mean, mean[..., None], mean, np.ones((2, 3)), (0.1, 0.5))


def test_the_layout_names_every_column_once():
    layout = Layout.of((0.005, 0.025, 0.5, 0.975, 0.995))
    assert layout.names[:2] == ("n_rows", "n_points")
    assert [name for name in layout.names if name.startswith("covered")] == [
        "covered_p0_5",
        "covered_p2_5",
        "covered_p50",
        "covered_p97_5",
        "covered_p99_5",
    ]
    assert layout.names[-6:] == ("inside_99", "inside_95", "width_99", "width_95", "msis_99", "msis_95")
    flat = np.arange(float(len(layout)))
    parts = [np.atleast_1d(layout.part(flat, column.name)) for column in COLUMNS]
    assert np.concatenate(parts).tolist() == flat.tolist()
    sizes = {Kind.SCALAR: 1, Kind.PER_QUANTILE: 5, Kind.PER_INTERVAL: 2}
    assert [len(part) for part in parts] == [sizes[column.kind] for column in COLUMNS]
    assert (layout.point_forecast, Layout.of((0.4,)).point_forecast) == ("median", "mean")
    with pytest.raises(ValueError, match="increasing"):
        Layout.of((0.5, 0.1))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(st.one_of(number, st.just(NAN)), max_size=15), min_size=1, max_size=4), m=st.integers(1, 6)
)
def test_mase_scale_equals_a_plain_loop(rows, m):
    batch = SeriesBatch.from_arrays(rows, start="2020-01-01", freq="D")
    ends = np.stack([batch.lengths, batch.lengths // 2], axis=1)
    begin = np.repeat(batch.offsets[:-1, None], 2, axis=1)
    got = mase_scale(batch.values, begin, begin + ends, m)
    for i, row in enumerate(rows):
        for w in range(2):
            y = row[: ends[i, w]]
            lag = m if len(y) > m else 1
            steps = [abs(y[t] - y[t - lag]) for t in range(lag, len(y))]
            steps = [s for s in steps if not np.isnan(s)]
            np.testing.assert_allclose(got[i, w], np.mean(steps) if steps else NAN, rtol=1e-12)


def test_mase_scale_refuses_a_season_below_one():
    with pytest.raises(ValueError, match="season of 0"):
        mase_scale(np.ones(3), [0], [3], 0)


FULL_PRECISION = (
    "import runpy, sys, pandas as pd; pd.DataFrame.round = lambda self, *_: self; pd.options.display.precision = 15;"
    "script = sys.argv[1]; sys.argv = sys.argv[1:]; runpy.run_path(script, run_name='__main__')"
)


@pytest.mark.judge
@pytest.mark.parametrize("name", ["m3_quarterly", "hospital", "car_parts"])
def test_metrics_agree_with_an_independent_scorer(name, shared_data, tmp_path):
    info = json.loads((shared_data / name / "info.json").read_text())
    train = pd.read_parquet(shared_data / name / "train.parquet").sort_values(["item_id", "timestamp"])
    test = pd.read_parquet(shared_data / name / "test.parquet").sort_values(["item_id", "timestamp"])
    both = pd.concat([train, test]).sort_values(["item_id", "timestamp"])
    groups = {key: part for key, part in train.groupby("item_id")}
    starts = [part.timestamp.iloc[0] for part in groups.values()]
    histories = [part.target.to_numpy(float) for part in groups.values()]
    batch = SeriesBatch.from_arrays(histories, starts, info["frequency"], keys=list(groups))
    levels, horizon = tuple(round(0.1 * k, 1) for k in range(1, 10)), info["horizon"]
    result = forecast(batch, "seasonal_naive", horizon, levels, season_length=info["season_length"])

    whole = SeriesBatch.from_arrays(
        [p.target.to_numpy(float) for _, p in both.groupby("item_id")], starts, info["frequency"]
    )
    happened = actuals(whole, (batch.start + batch.lengths - 1)[:, None], horizon)[:, 0]
    m = info.get("mase_season_length", info["season_length"])
    scale = mase_scale(batch.values, batch.offsets[:-1], batch.offsets[1:], m)
    ours = ratios(row_statistics(result.mean, result.quantiles, happened, scale, levels).sum(axis=0), levels)

    steps = batch.frequency.labels(result.first_step[:, None] + np.arange(horizon)).ravel()
    table = {
        "item_id": np.repeat(batch.keys, horizon),
        "timestamp": steps.astype("M8[us]"),
        "mean": result.mean.ravel(),
    }
    table |= {quantile_column(q): result.quantiles[..., i].ravel() for i, q in enumerate(levels)}
    pd.DataFrame(table).to_parquet(tmp_path / "forecasts.parquet")
    command = [sys.executable, "-c", FULL_PRECISION, str(shared_data / "score.py"), name, "forecasts.parquet"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    header, *lines = printed.splitlines()
    row = next(line.split() for line in lines if line.split()[0] == "OURS")
    theirs = dict(zip(header.split(), row, strict=False))

    three = [ours[f"wQL_{quantile_column(q)}"] for q in (0.1, 0.5, 0.9)]
    pairs = {"mean_wQL": np.mean(three), "wQL9": ours["mean_wQL"], "cover80": ours["coverage_80"]}
    pairs |= {metric: ours[metric] for metric in ("MASE", "sMAPE", "RMSE")}
    for metric, value in pairs.items():
        assert value == pytest.approx(float(theirs[metric]), rel=1e-9), metric
