"""Accuracy of the whole job beside published and measured peers: AutoML, end to end.

    python benchmarks/accuracy.py [--data FOLDER ...] [--set NAME ...] [--preset fast|full|deep] [--test]

Every data set (the layout is in benchmarks/datasets.py) goes through ingest, backtest, selection, calibration and
forecast on Spark. The preset deep adds the global model (it needs torch): it is trained for every backtest window on
what that window sees and its backtests compete; then on all of the history for its forecasts. By default the
last horizon of the training part is held back and scored. `--test` opens the test part instead, prints ours beside the
peers of `peers.jsonl` and `published.csv` in the folder above the set, and adds a line with the commit to
docs/benchmarks.md. The forecasts are written to FOLDER as one Parquet file a set.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, find
from rich.console import Console
from rich.table import Table

from forecasting.evaluation.layout import Layout
from forecasting.evaluation.metrics import ratios
from forecasting.evaluation.row_statistics import row_statistics
from forecasting.levels import quantile_column

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
LOG = ROOT / "docs" / "benchmarks.md"
LEVELS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
DEEP = "deep"
FAST = (
    "naive", "seasonal_naive", "mean", "empirical", "theta", "ets", "ces", "mstl", "npts", "npts+flat", "prophet",
    "tsb", "adida", "imapa",
)  # fmt: skip
FULL = (*FAST, "arima")
PRESETS = {"fast": FAST, "full": FULL, DEEP: FULL}
GLOBAL_MODEL = {
    "epochs": 30,
    "learning_rate": 0.005,
    "max_learning_rate_decays": 4,
    "early_stopping_patience": 4,
    "num_networks": 8,
    "num_samples": 256,
    "per_window": True,
}
OPTIONS: dict[str, dict[str, Any]] = {"npts+flat": {"use_seasonal_model": False}}
_TRAIN_ONLY = "validation"


@dataclass(frozen=True)
class Scores:
    """What score.py prints: mean wQL over 0.1, 0.5, 0.9; wQL9 over 0.1 to 0.9; MASE and sMAPE of the median; RMSE of
    the mean; shares of actuals below P10, P50, P90 and inside 80 % and 95 %."""

    mean_wql: float
    wql9: float
    mase: float
    smape: float
    rmse: float
    below: tuple[float, float, float]
    inside80: float
    inside95: float


def config(dataset: Dataset, preset: str, lake: Path, inputs: Path) -> dict[str, Any]:
    """The configuration of one set. Nothing in it is chosen by set but what info.json says."""
    info = dataset.info
    data: dict[str, Any] = {"target": {"path": str(inputs / "target.parquet")}}
    if dataset.has("related"):
        series = {name: {"known_in_future": True} for name in dataset.known}
        data["related"] = [{"path": str(dataset.folder / "related.parquet"), "series": series}]
    covariates = {name: (name,) for name in dataset.known} if dataset.has("related") else {}
    if len(covariates) > 2:  # families of covariates, not columns, are tried with and without
        covariates = {"covariates": tuple(dataset.known)}
    section = GLOBAL_MODEL
    if preset == DEEP and dataset.has("items"):
        source, numbers = items(dataset)
        data["items"], section = [source], {**GLOBAL_MODEL, "numbers": numbers}
    return {
        "dataset_group": dataset.name,
        "frequency": info["frequency"],
        "dimensions": info.get("dimensions", []),
        "data": data,
        "forecast_start": info.get("forecast_start", "per_series"),
        "horizon": dataset.horizon,
        "quantiles": LEVELS,
        "models": {name: OPTIONS.get(name, {}) for name in PRESETS[preset]} | elasticities(dataset),
        "covariates": covariates,
        "backtest": dataset.backtest(),
        "evaluation": {"mase_season_length": dataset.mase_season},
        "lake": {"path": str(lake), "buckets": 2},
        "limits": {"max_failed_share": 1.0},
        "seed": 7,
        "deepar": section,
    }


def elasticities(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Where there are covariates, an arima of logarithms, of the target and of those that are above 0 in all of the
    history: a price, a holiday and an advertisement then change demand by a share. The preset fast has it too, for
    none of its other models takes a price where the history is short."""
    if not dataset.has("related") or not dataset.known:
        return {}
    table = pd.read_parquet(dataset.folder / "related.parquet", columns=["timestamp", *dataset.known])
    seen = table[table["timestamp"] <= dataset.history()["timestamp"].max()]
    positive = [name for name in dataset.known if (seen[name].dropna() > 0).all()]
    return {"arima+log": {"box_cox": 0.0, "log_regressors": positive}}


def items(dataset: Dataset) -> tuple[dict[str, Any], list[str]]:
    """The metadata as a source, and which of them are numbers."""
    table = pd.read_parquet(dataset.folder / "items.parquet")
    keys = [name for name in dataset.key if name in table]
    attributes = [name for name in table.columns if name not in keys]
    numbers = [name for name in attributes if table[name].dtype.kind in "fi"]
    return {"path": str(dataset.folder / "items.parquet"), "key": keys, "attributes": attributes}, numbers


def forecasts(dataset: Dataset, preset: str, spark: Any) -> tuple[pd.DataFrame, dict[str, float]]:
    """Rows as score.py takes them, and what the run cost: core-seconds of the models, wall seconds, series."""
    from jobs.run import run
    from udfs.config import load_config
    from udfs.lake import Lake

    work = Path(tempfile.mkdtemp(prefix=f"almanac-{dataset.name}-"))
    try:
        dataset.history()[[*dataset.key, "timestamp", "target"]].to_parquet(work / "target.parquet", index=False)
        content = config(dataset, preset, work / "lake", work)
        started = time.perf_counter()
        cost = {"training": 0.0}
        if preset == DEEP:
            done, cost = with_global_model(content, spark)
        else:
            done = run(content, spark).run
        seconds = time.perf_counter() - started
        lake = Lake.of(spark, load_config(content))
        columns = [*dataset.key, "timestamp", "mean", *map(quantile_column, LEVELS), "model"]
        rows = lake.read("forecasts").where(f"run_id = '{done.run_id}'").select(*columns).toPandas()
        cost |= {"core_seconds": done.core_seconds or 0.0, "seconds": seconds, "series": done.plan.n_series}
        return rows, cost
    finally:
        shutil.rmtree(work, ignore_errors=True)


def with_global_model(content: dict[str, Any], spark: Any) -> tuple[Any, dict[str, float]]:
    """The run with `deepar` among the models, and seconds of its trainings."""
    from jobs.backtest import backtest
    from jobs.forecast import forecast
    from jobs.ingest import ingest
    from jobs.leaderboard import leaderboard, render
    from jobs.predict_deepar import predict
    from jobs.select import select
    from jobs.train_deepar import train

    ingest(content, spark)
    run_id = backtest(content, spark, enforce_limits=False).run_id
    first = train(content, before_backtests=True)
    predict(content, run_id=run_id, backtest=True)
    second = train(content)
    predict(content, run_id=run_id)
    select(content, spark, run_id=run_id)
    render(leaderboard(content, spark, run_id=run_id))
    return forecast(content, spark, run_id=run_id), {"training": first.row["seconds"] + second.row["seconds"]}


def score(dataset: Dataset, rows: pd.DataFrame) -> Scores:
    """By our own metrics, over the points that have an actual."""
    joined = dataset.future().merge(rows, on=[*dataset.key, "timestamp"], how="left", suffixes=("", "_forecast"))
    if joined["mean"].isna().any():
        missing = joined.loc[joined["mean"].isna(), [*dataset.key, "timestamp"]]
        raise SystemExit(f"{len(missing)} points have no forecast, first: {missing.iloc[0].to_dict()}")
    joined["row"] = joined.groupby(dataset.key, observed=True).ngroup()
    joined["step"] = joined.groupby("row").cumcount()
    n, horizon = int(joined["row"].max()) + 1, int(joined["step"].max()) + 1
    at = (joined["row"].to_numpy(), joined["step"].to_numpy())
    actual, mean = np.full((n, horizon), np.nan), np.zeros((n, horizon))
    quantiles = np.zeros((n, horizon, len(LEVELS)))
    actual[at], mean[at] = joined["target"].to_numpy(float), joined["mean"].to_numpy(float)
    quantiles[at] = joined[[quantile_column(q) for q in LEVELS]].to_numpy(float)
    sums = row_statistics(mean, quantiles, actual, scales(dataset, joined), LEVELS).sum(axis=0)
    found = {name: float(value) for name, value in ratios(sums, LEVELS).items()}
    three = [found[f"wQL_{quantile_column(q)}"] for q in (0.1, 0.5, 0.9)]
    nine = [found[f"wQL_{quantile_column(q / 10)}"] for q in range(1, 10)]
    layout = Layout.of(LEVELS)
    inside = dict(zip(layout.interval_names, layout.part(sums, "inside") / layout.part(sums, "n_points"), strict=True))
    below = tuple(found[f"coverage_{quantile_column(q)}"] for q in (0.1, 0.5, 0.9))
    return Scores(
        float(np.mean(three)),
        float(np.mean(nine)),
        found["MASE"],
        found["sMAPE"],
        found["RMSE"],
        below,  # type: ignore[arg-type]
        float(inside["80"]),
        float(inside["95"]),
    )


def scales(dataset: Dataset, joined: pd.DataFrame) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The scale of MASE of each series in the order of `row`: its mean seasonal step, on the grid of the set."""
    m, out = dataset.mase_season, {}
    for key, group in dataset.history().groupby(dataset.key, observed=True):
        y = group.set_index("timestamp")["target"].asfreq(dataset.info["frequency"]).to_numpy(float)
        lag = m if len(y) > m else 1
        steps = np.abs(y[lag:] - y[:-lag]) if len(y) > 1 else np.array([np.nan])
        out[key] = float(np.nanmean(steps)) if np.isfinite(steps).any() else np.nan
    order = joined.drop_duplicates("row").sort_values("row")[dataset.key]
    return np.array([out.get(tuple(key), np.nan) for key in order.itertuples(index=False, name=None)])


# --- peers ---


def peers(dataset: Dataset) -> pd.DataFrame:
    """The measured and the published peers of a set: model, mean_wQL, wQL9, MASE, sMAPE, ms_per_series."""
    above = dataset.folder.parent
    parts = []
    if (above / "peers.jsonl").exists():
        rows = [json.loads(line) for line in (above / "peers.jsonl").read_text().splitlines()]
        parts.append(pd.DataFrame([r for r in rows if r["set"] == dataset.name]))
    if (above / "published.csv").exists():
        rows = pd.read_csv(above / "published.csv")
        parts.append(rows[rows["set"] == dataset.name].assign(model=lambda r: r["model"] + " (published)"))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["model"])
    return table.reindex(columns=["model", "mean_wQL", "wQL9", "MASE", "sMAPE", "ms_per_series"])


WITH_COVARIATES = ("AutoARIMAX",)
GLOBAL = ("AutoGluon",)


def best_local(table: pd.DataFrame, column: str, covariates: bool) -> float:
    """The best measured peer that fits each series alone; Prophet has covariates where the set has any."""
    mine = table[~table["model"].str.contains("published") & ~table["model"].isin(GLOBAL)]
    if not covariates:
        mine = mine[~mine["model"].isin(WITH_COVARIATES)]
    return float(mine[column].min())


def show(dataset: Dataset, scores: Scores, cost: dict[str, float], console: Console) -> dict[str, Any]:
    """Print ours beside the peers; the line for the summary."""
    line: dict[str, Any] = {
        "set": dataset.name, "series": cost["series"], "mean_wQL": scores.mean_wql, "wQL9": scores.wql9,
        "MASE": scores.mase, "sMAPE": scores.smape, "below P10": scores.below[0], "below P50": scores.below[1],
        "below P90": scores.below[2], "in 80": scores.inside80, "in 95": scores.inside95,
        "training s": cost["training"], "core-ms/series": 1e3 * cost["core_seconds"] / max(cost["series"], 1),
        "wall s": cost["seconds"],
    }  # fmt: skip
    if dataset.validate:
        return line
    table = peers(dataset)
    mine = {"model": "ALMANAC", "mean_wQL": scores.mean_wql, "wQL9": scores.wql9, "MASE": scores.mase}
    mine |= {"sMAPE": scores.smape, "ms_per_series": line["core-ms/series"]}
    shown = pd.concat([pd.DataFrame([mine]), table], ignore_index=True).sort_values(["mean_wQL", "wQL9"])
    out = Table(title=f"{dataset.name}: {int(cost['series'])} series")
    for column in shown.columns:
        out.add_column(column, justify="left" if column == "model" else "right")
    for row in shown.itertuples(index=False, name=None):
        cells = ["" if isinstance(v, float) and np.isnan(v) else v if isinstance(v, str) else f"{v:.4g}" for v in row]
        out.add_row(*cells, style="bold" if row[0] == "ALMANAC" else None)
    console.print(out)
    covariates = dataset.has("related")
    line["wQL / best local"] = scores.mean_wql / best_local(table, "mean_wQL", covariates)
    line["MASE / best local"] = scores.mase / best_local(table, "MASE", covariates)
    gluon = table[table["model"].isin(GLOBAL)]
    if len(gluon):
        line["wQL / AutoGluon"] = scores.mean_wql / float(gluon["mean_wQL"].iloc[0])
        line["MASE / AutoGluon"] = scores.mase / float(gluon["MASE"].iloc[0])
        line["time / AutoGluon"] = line["core-ms/series"] / float(gluon["ms_per_series"].iloc[0])
    return line


def summary(lines: list[dict[str, Any]], console: Console) -> None:
    """All sets, with the geometric mean of each ratio."""
    table = pd.DataFrame(lines)
    ratios_ = [c for c in table.columns if " / " in c]
    out = Table(title="All sets")
    for column in table.columns:
        out.add_column(column, justify="left" if column == "set" else "right")
    for row in table.itertuples(index=False, name=None):
        out.add_row(*(v if isinstance(v, str) else f"{v:.4g}" for v in row))
    means = {c: float(np.exp(np.log(table[c].dropna()).mean())) for c in ratios_}
    shares = {c: float(table[c].mean()) for c in table.columns if c.startswith(("below", "in "))}
    last = means | shares
    out.add_row(
        *("mean" if c == "set" else f"{last[c]:.4g}" if c in last else "" for c in table.columns), style="bold"
    )
    console.print(out)


def log_opening(names: list[str], preset: str) -> None:
    """Say in docs/benchmarks.md that the test parts were opened, and by which commit."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    line = f"- {date.today().isoformat()}, commit {commit}, preset {preset}: {', '.join(names)}\n"
    text = LOG.read_text()
    heading = "## Test parts opened"
    if heading not in text:
        text = f"{text.rstrip()}\n\n{heading}\n\nEach run of `make accuracy ARGS=--test`.\n\n"
    LOG.write_text(text if text.endswith(line) else text + line)


def main() -> None:
    """Run the sets and print the tables."""
    parser = argparse.ArgumentParser(description="AutoML end to end, beside peers.")
    parser.add_argument("--data", action="append", type=Path, help="a data set's folder, or one with several")
    parser.add_argument("--set", action="append", help="only these sets")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="full", help="fast: arima only for covariates")
    parser.add_argument("--test", action="store_true", help="open the test part; logged in docs/benchmarks.md")
    parser.add_argument("--out", type=Path, default=ROOT / "lake" / "accuracy", help="folder for the forecasts")
    arguments = parser.parse_args()
    sets = [
        d for d in find(arguments.data or [DATA], not arguments.test) if not arguments.set or d.name in arguments.set
    ]
    if not sets:
        raise SystemExit(
            f"no data set in {arguments.data or [DATA]}; a set is a folder with info.json and train.parquet"
        )
    from udfs.config import load_config
    from udfs.session import open_session

    console = Console(width=200)
    place = Path(tempfile.mkdtemp(prefix="almanac-accuracy-"))
    session = open_session(load_config(config(sets[0], arguments.preset, place / "lake", place)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.test:
        log_opening([d.name for d in sets], arguments.preset)
    lines = []
    for dataset in sets:
        rows, cost = forecasts(dataset, arguments.preset, session)
        kind = "test" if arguments.test else _TRAIN_ONLY
        rows.to_parquet(arguments.out / f"{dataset.name}.{kind}.parquet", index=False)
        lines.append(show(dataset, score(dataset, rows), cost, console))
        console.print({k: round(v, 4) if isinstance(v, float) else v for k, v in lines[-1].items()})
    summary(lines, console)


if __name__ == "__main__":
    main()
