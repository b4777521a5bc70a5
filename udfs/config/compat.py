"""`compat: amazon_forecast`: the service's own defaults, where a config does not say otherwise.

What is set, from the service's developer guide and observed answers:
fill of the target: front none, middle zero, back zero to the common end. Target aggregation sum; related series are
not aggregated (several rows of a period are refused) and not filled. Quantiles 0.1, 0.5, 0.9 without the mean. One
backtest window, one horizon before the end; one model for all series by the mean weighted quantile loss; no
calibration. Weeks begin on Monday and years in January, where the frequency leaves it open. Seasons of ETS and ARIMA
by the service's table; ETS has none above 24 periods, as R's `ets`. NPTS is always seasonal. Without `models`: ARIMA,
ETS, NPTS and Prophet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forecasting.frequency import DAY_US, HOUR_US, MINUTE_US, WEEK_US, Frequency
from udfs.config.service_schema import with_series
from udfs.config.sources import defaulted

AMAZON = "amazon_forecast"

_DEFAULTS: Mapping[str, Any] = {
    "fill": {"target": {"front": "nan", "middle": "zero", "back": "zero"}},
    "forecast_start": "global",
    "quantiles": [0.1, 0.5, 0.9],
    "mean": False,
    "models": {"arima": {}, "ets": {}, "npts": {}, "prophet": {}},
    "backtest": {"windows": 1},
    "selection": {"mode": "best_overall", "metric": "mean_wQL"},
    "calibration": {"method": "none"},
}
_OPEN = {"W": "W-MON", "1W": "W-MON", "P1W": "W-MON", "Y": "YS-JAN", "1Y": "YS-JAN", "P1Y": "YS-JAN"}
_SEASONS = {WEEK_US: 52, DAY_US: 7, HOUR_US: 24, 30 * MINUTE_US: 2, 15 * MINUTE_US: 4, 10 * MINUTE_US: 6,
            5 * MINUTE_US: 12, MINUTE_US: 60}  # fmt: skip
_LONGEST_ETS_SEASON = 24


def service_season(frequency: Frequency) -> int:
    """Periods in the season that the service's ARIMA and ETS took; 1 where its table has no entry."""
    if frequency.months:
        return 12 if frequency.months == 1 else 1
    return _SEASONS.get(frequency.step_us, 1)


def with_compat(content: Any) -> Any:
    """The content of a config with the service's defaults for what is not given, where `compat` asks for them."""
    if not isinstance(content, Mapping) or content.get("compat") != AMAZON:
        return content
    made = _filled(content, _DEFAULTS)
    spelled = str(made.get("frequency", "")).strip()
    made["frequency"] = _OPEN.get(spelled, made.get("frequency"))
    if made["frequency"] is None:
        del made["frequency"]
    made["models"] = _with_seasons(made["models"], spelled)
    segments = made.get("segments")
    if isinstance(segments, list | tuple):
        made["segments"] = [
            {**s, "models": _with_seasons(s["models"], spelled)} if isinstance(s, Mapping) and "models" in s else s
            for s in segments
        ]
    data = made.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("related"), list | tuple):
        made["data"] = {**data, "related": [_with_aggregation(source) for source in data["related"]]}
    return made


def _filled(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and the defaults of what is not, section by section; `models` is one value."""
    made = dict(given)
    for key, value in defaults.items():
        if key not in made:
            made[key] = value
        elif key != "models" and isinstance(value, Mapping) and isinstance(made[key], Mapping):
            made[key] = _filled(made[key], value)
    return made


def _with_seasons(models: Any, spelled: str) -> Any:
    models = defaulted(models)
    try:
        frequency = Frequency.parse(spelled)
    except ValueError:
        return models
    if not isinstance(models, Mapping):
        return models
    season = service_season(frequency)
    made: dict[Any, Any] = {}
    for name, options in models.items():
        family = str(name).partition("+")[0]
        defaults: dict[str, Any] = {}
        if family in ("arima", "ets"):
            wanted = 1 if family == "ets" and season > _LONGEST_ETS_SEASON else season
            defaults = {"season_length": wanted} if wanted != frequency.season_length else {}
        elif family == "npts":
            defaults = {"use_seasonal_model": True}
        made[name] = {**defaults, **options} if isinstance(options, Mapping) else options
    return made


def _with_aggregation(source: Any) -> Any:
    source = with_series(source)
    if not isinstance(source, Mapping) or "series" not in source:
        return source
    series = defaulted(source["series"])
    if not isinstance(series, Mapping):
        return source
    made = {n: {"aggregation": "none", **c} if isinstance(c, Mapping) else c for n, c in series.items()}
    return {**source, "series": made}
