"""Cold start beside simple forecasts, on items whose history is hidden.

    python benchmarks/cold_start.py FOLDER [--category COLUMN] [--price COLUMN] [--share 0.1] [--windows 3]
                                           [--seen 0,1,4,8]

FOLDER holds a data set in the layout of `datasets.py`; only its training part is read. A share of the series, and then
of the values of each forecast dimension (all series of a tenth of the stores), is hidden but for the latest few
observations before a cutoff, and forecast over one horizon from it. Printed is mean wQL (0.1, 0.5, 0.9):

cold         forecasting.cold_start
mean         the mean of the category's values over the latest season (--category: item_id, or a metadata column)
quantiles    their quantiles
zero         0
last         the last observation seen (nothing seen: 0)
own          quantiles of the observations seen (nothing seen: 0)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from forecasting.batch import FloatArray, offsets_of
from forecasting.cold_start import ColdTargets, DonorPool, Features, FeatureSpace, fit_cold
from forecasting.cold_start.model import level_window, season_lengths
from forecasting.frequency import Frequency, to_microseconds
from forecasting.seeds import key_hashes, series_key

LEVELS = (0.1, 0.5, 0.9)
Key = tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """The training part. values: by key, from `start` to the common end."""

    data: Dataset
    frequency: Frequency
    start: dict[Key, int]
    values: dict[Key, FloatArray]
    end: int
    metadata: dict[str, dict[Key, str]]
    price: dict[Key, float]

    @classmethod
    def of(cls, data: Dataset, price: str | None) -> Series:
        frequency = Frequency.parse(data.info["frequency"])
        frame = data.history()
        frequency = frequency.aligned_to(int(to_microseconds(frame["timestamp"].to_numpy()[:1])[0]))
        ordinal = frequency.ordinals(to_microseconds(frame["timestamp"].to_numpy()))
        end = int(ordinal.max())
        start, values = {}, {}
        for key, rows in frame.assign(ordinal=ordinal).groupby(data.key, observed=True):
            first = int(rows["ordinal"].min())
            line = np.full(end - first + 1, np.nan)
            line[rows["ordinal"].to_numpy() - first] = rows["target"].to_numpy()
            start[key], values[key] = first, line
        return cls(data, frequency, start, values, end, _metadata(data, list(start)), _prices(data, price))


def _metadata(data: Dataset, keys: list[Key]) -> dict[str, dict[Key, str]]:
    """Key columns where there are several, and metadata, as the jobs see it."""
    names = data.key if len(data.key) > 1 else []
    found = {name: {key: key[data.key.index(name)] for key in keys} for name in names}
    if data.has("items"):
        items = pd.read_parquet(data.folder / "items.parquet")
        on = [name for name in data.key if name in items.columns]
        items[on] = items[on].astype(str)
        listed = items.set_index(on)
        for name in (c for c in items.columns if c not in on):
            known = listed[name].astype(str).to_dict()
            places = [data.key.index(c) for c in on]
            at = {key: tuple(key[p] for p in places) for key in keys}
            found[name] = {k: known.get(a if len(a) > 1 else a[0]) for k, a in at.items()}
    return found


def _prices(data: Dataset, price: str | None) -> dict[Key, float]:
    if price is None:
        return {}
    related = pd.read_parquet(data.folder / "related.parquet")
    related[data.key] = related[data.key].astype(str)
    past = related[related["timestamp"] <= data.history()["timestamp"].max()]
    return dict(past.groupby(data.key, observed=True)[price].mean())


def loss(quantiles: FloatArray, actual: FloatArray) -> float:
    """Mean wQL of [N, H, Q] over the levels."""
    gap = actual[:, :, None] - quantiles
    shares = np.array(LEVELS)
    return float(np.nansum(2 * np.maximum(shares * gap, (shares - 1) * gap)) / np.nansum(np.abs(actual)) / len(LEVELS))


def scores(series: Series, hidden: set[Key], seen: int, cutoff: int, category: str) -> dict[str, float]:
    """wQL by forecast, of the hidden series from `cutoff` on, and coverage of cold start's 80 % interval."""
    horizon = series.data.horizon
    donors = [key for key in series.start if key not in hidden and series.start[key] <= cutoff]
    mine = [key for key in series.start if key in hidden and series.start[key] <= cutoff]
    past = {key: series.values[key][: cutoff - series.start[key] + 1] for key in (*donors, *mine)}
    own = [past[key][len(past[key]) - min(seen, len(past[key])) :] for key in mine]
    actual = np.array([_ahead(series, key, cutoff, horizon) for key in mine])
    encode = _encoder(series, donors)
    pool = DonorPool(
        values=np.concatenate([past[key] for key in donors]),
        offsets=offsets_of([len(past[key]) for key in donors]),
        start=np.array([series.start[key] for key in donors]),
        launched=np.zeros(len(donors), dtype=np.int64),
        features=encode(donors),
        keys=[series_key(*key) for key in donors],
    )
    window = level_window(season_lengths(series.frequency))
    model = fit_cold(pool, series.frequency, enough=min(window, 2 * horizon))
    offsets = offsets_of([len(line) for line in own])
    made = model.forecast(
        ColdTargets(
            values=np.concatenate(own),
            begin=offsets[:-1],
            end=offsets[1:],
            start=np.array([cutoff + 1 - len(line) for line in own]),
            first_step=np.full(len(mine), cutoff + 1),
            features=encode(mine),
            key_hash=key_hashes([series_key(*key) for key in mine]),
        ),
        horizon,
        LEVELS,
    )
    of_category: dict[str | None, list[FloatArray]] = {}
    for key in donors:
        of_category.setdefault(series.metadata[category].get(key), []).append(past[key][-window:])
    everyone = np.concatenate([line for lines in of_category.values() for line in lines])
    cells = [np.concatenate(of_category.get(series.metadata[category].get(key), [everyone])) for key in mine]
    inside = np.where(np.isnan(actual), np.nan, _inside(made.quantiles, actual))
    return {
        "cold": loss(made.quantiles, actual),
        "mean": loss(_flat([np.full(3, np.nanmean(cell)) for cell in cells], horizon), actual),
        "quantiles": loss(_flat([np.nanquantile(cell, LEVELS) for cell in cells], horizon), actual),
        "zero": loss(np.zeros((*actual.shape, 3)), actual),
        "last": loss(_flat([np.full(3, _known(line)[-1]) for line in own], horizon), actual),
        "own": loss(_flat([np.quantile(_known(line), LEVELS) for line in own], horizon), actual),
        "coverage": float(np.nanmean(inside)),
    }


def _encoder(series: Series, donors: list[Key]) -> Callable[[list[Key]], Features]:
    """Keys to features, by what the donors have."""

    def texts(keys: list[Key]) -> dict[str, list[str | None]]:
        return {name: [known.get(key) for key in keys] for name, known in series.metadata.items()}

    def prices(keys: list[Key]) -> dict[str, FloatArray]:
        return {"price": np.array([series.price.get(key, np.nan) for key in keys])} if series.price else {}

    space = FeatureSpace.of(texts(donors), prices(donors), identifiers=series.data.key)
    return lambda keys: space.encode(texts(keys), prices(keys), len(keys))


def _ahead(series: Series, key: Key, cutoff: int, horizon: int) -> FloatArray:
    first = cutoff + 1 - series.start[key]
    return np.asarray(series.values[key][first : first + horizon])


def _known(line: FloatArray) -> FloatArray:
    known = line[~np.isnan(line)]
    return known if len(known) else np.zeros(1)


def _flat(rows: Sequence[FloatArray], horizon: int) -> FloatArray:
    return np.repeat(np.array(rows)[:, None, :], horizon, axis=1)


def _inside(quantiles: FloatArray, actual: FloatArray) -> FloatArray:
    return np.asarray((actual >= quantiles[:, :, 0]) & (actual <= quantiles[:, :, 2]), dtype=np.float64)


def hidden_sets(series: Series, share: float) -> Iterable[tuple[str, set[Key]]]:
    """What is hidden: some series; then all series of some values of each dimension."""
    keys = sorted(series.start)
    mixed = np.random.default_rng(0).permutation(len(keys))
    yield f"{share:.0%} of the series", {keys[i] for i in mixed[: max(1, int(share * len(keys)))]}
    for place, name in enumerate(series.data.key[1:], start=1):
        values = sorted({key[place] for key in keys})
        mixed = np.random.default_rng(0).permutation(len(values))
        gone = {values[i] for i in mixed[: max(1, int(share * len(values)))]}
        yield f"all of {share:.0%} of {name}", {key for key in keys if key[place] in gone}


def main() -> None:
    """Hide, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--category", default="item_id")
    parser.add_argument("--price")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--seen", default="0,1,4,8")
    arguments = parser.parse_args()
    series = Series.of(Dataset(arguments.folder, validate=False), arguments.price)
    horizon = series.data.horizon
    for title, hidden in hidden_sets(series, arguments.share):
        sys.stdout.write(
            f"{series.data.name}: {title} ({len(hidden)} series), mean wQL of {arguments.windows} cutoffs\n"
        )
        for seen in map(int, arguments.seen.split(",")):
            cutoffs = [series.end - horizon * (1 + 2 * w) for w in range(arguments.windows)]
            found = [scores(series, hidden, seen, cutoff, arguments.category) for cutoff in cutoffs]
            mean = {name: float(np.mean([f[name] for f in found])) for name in found[0]}
            line = "  ".join(f"{name} {value:.3f}" for name, value in mean.items())
            best = min(mean["mean"], mean["quantiles"])
            sys.stdout.write(
                f"  {seen} seen: {line}  cold/mean {mean['cold'] / mean['mean']:.2f}  "
                f"cold/better of both {mean['cold'] / best:.2f}\n"
            )


if __name__ == "__main__":
    main()
