"""Settings of a Spark session that hold while a block runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def settings(spark: SparkSession, wanted: Mapping[str, str], *, needed: bool = False) -> Iterator[None]:
    """Session settings for the duration of a block; they are put back afterwards.

    needed: a session that allows no change raises; else its own settings stay.
    """
    before: dict[str, str | None] = {}
    try:
        for key, value in wanted.items():
            try:
                old = spark.conf.get(key, None)
                spark.conf.set(key, value)
                before[key] = old
            except Exception:
                if needed:
                    raise
                logging.getLogger(__name__).debug("setting %s left as it is", key)
        yield
    finally:
        for key, old in before.items():
            if old is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, old)
