"""Which settings a search tries: optuna's samplers over the ranges of hyperparameters, seeded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from forecasting.models.ranges import Choice, Number

if TYPE_CHECKING:
    from optuna.study import Study

Sampler = Literal["tpe", "random"]


def new_study(sampler: Sampler, stream: str, trials: int) -> Study:
    """A study of so many trials, seeded by `stream`. tpe: Bergstra, Bardenet, Bengio and Kegl 2011, "Algorithms for
    hyper-parameter optimization"; random: Bergstra and Bengio 2012. Raises ImportError where optuna is missing."""
    try:
        import optuna
    except ImportError:
        raise ImportError(
            "the search of hyperparameters needs optuna, which is not installed here: pip install 'almanac[tune]'"
        ) from None
    seed = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=4).digest(), "little")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if sampler == "random":
        return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    # A third of the trials is drawn at random, so that a short search is not over before it has begun.
    startup = int(np.clip(trials // 3, 3, 10))
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup))


def distribution(span: Choice | Number) -> Any:
    """A range as optuna knows it."""
    from optuna import distributions

    if isinstance(span, Choice):  # positions: values may be of any type
        return distributions.CategoricalDistribution(tuple(range(len(span.values))))
    if span.whole:
        return distributions.IntDistribution(int(span.low), int(span.high), log=span.log)
    return distributions.FloatDistribution(span.low, span.high, log=span.log)


def value_of(drawn: Any, span: Choice | Number) -> Any:
    """What a draw stands for; four significant digits of a number are enough to search and to read."""
    if isinstance(span, Choice):
        return span.values[drawn]
    return int(drawn) if span.whole else float(f"{drawn:.4g}")


def place_of(value: Any, span: Choice | Number) -> Any:
    """A value as the sampler knows it, None where its range does not hold it."""
    if isinstance(span, Choice):
        same = (i for i, v in enumerate(span.values) if type(v) is type(value) and v == value)
        return next(same, None)
    inside = isinstance(value, int | float) and not isinstance(value, bool) and span.low <= value <= span.high
    return value if inside else None
