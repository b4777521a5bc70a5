"""The one list of model families; `statsmodels:Class` names one of statsmodels', `module:function` a user's own.

A name may carry a variant after a plus sign: `ets+damped` is the family `ets` with hyperparameters of its own beside
`ets`."""

from __future__ import annotations

import difflib
import importlib
from functools import cache

from forecasting.models.contract import Model

_FAMILIES = {
    "naive": "forecasting.models.baselines:Naive",
    "seasonal_naive": "forecasting.models.baselines:SeasonalNaive",
    "ets": "forecasting.models.ets:Ets",
    "npts": "forecasting.models.npts:Npts",
    "prophet": "forecasting.models.prophet:Prophet",
    "ces": "forecasting.models.ces:Ces",
    "croston_sba": "forecasting.models.intermittent:CrostonSba",
    "tsb": "forecasting.models.intermittent:Tsb",
    "adida": "forecasting.models.intermittent:Adida",
    "imapa": "forecasting.models.intermittent:Imapa",
    "mean": "forecasting.models.mean:Mean",
    "empirical": "forecasting.models.mean:Empirical",
    "theta": "forecasting.models.theta:Theta",
    "arima": "forecasting.models.arima:Arima",
    "mstl": "forecasting.models.mstl:Mstl",
}


def model_names() -> tuple[str, ...]:
    """The built-in families."""
    return tuple(_FAMILIES)


VARIANT = "+"
FURTHER = "-"


def family_of(name: str) -> str:
    """A model's name without its variant."""
    return name.partition(VARIANT)[0]


def with_variant(name: str, variant: str) -> str:
    """The name of a variant of a model: ets+tuned, and of a variant that has one already ets+damped-tuned."""
    return f"{name}{FURTHER if VARIANT in name else VARIANT}{variant}"


def last_variant(name: str) -> tuple[str, str]:
    """What `with_variant` has put together: the model and its last variant, "" for none."""
    base, join, variant = name.rpartition(FURTHER if FURTHER in name.partition(VARIANT)[2] else VARIANT)
    return (base, variant) if join else (name, "")


def get_model(name: str) -> Model:
    """The model of that name, with or without a variant; families are imported only when asked for.

    Raises ValueError with the known names (and the nearest one) for an unknown name, and with the import's own
    message for a `statsmodels:Class` or `module:function` that cannot be loaded.
    """
    return _family(family_of(name))


@cache
def _family(name: str) -> Model:
    if name in _FAMILIES:
        module, attribute = _FAMILIES[name].split(":")
        model: Model = getattr(importlib.import_module(module), attribute)()
        return model
    if name.startswith("statsmodels:"):
        from forecasting.models.statsmodels_model import StatsmodelsModel

        return StatsmodelsModel(name)
    if ":" in name:
        from forecasting.models.user import UserModel

        return UserModel(name)
    near = difflib.get_close_matches(name, _FAMILIES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"model {name!r} is not known{hint} Known: {', '.join(_FAMILIES)}, "
        "statsmodels:Class for one of statsmodels, or module:function for a model of your own"
    )
