"""The one module that opens Spark. On Databricks, and wherever a session is given, that session is used as it is."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from udfs.errors import InputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from udfs.config import Config

# One thread a task: Spark supplies the parallelism. The same for every library that could start its own.
SINGLE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR")}
_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# Most tasks write one bucket: their rows need not be sorted by it first.
_WRITING = {"spark.sql.maxConcurrentOutputFileWriters": "2"}
# Local defaults: small shuffles, a small Delta log state, no UI. A cluster sets its own through spark-submit.
_LOCAL = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.databricks.delta.stalenessLimit": "0",
    "spark.driver.memory": "2g",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}

_FEW_CORES = 4
"""Up to so many, a garbage collector with threads of its own only takes time from the tasks (a seventh, measured)."""


def open_session(config: Config | None = None, settings: Mapping[str, str] | None = None) -> SparkSession:
    """The active session, else a new one with what Almanac needs.

    A new one is local with all cores unless spark-submit or `spark.master` says otherwise; a task is tried up to four
    times, so that a killed Python worker does not end a job. `settings` go over everything else. Raises InputError
    when no Java is found.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise InputError("pyspark is not installed: install almanac[spark], or run where Spark is") from error
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("almanac")
    for key, value in (_settings(config) | dict(settings or {})).items():
        builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except Exception as error:
        if "JAVA" in str(error).upper():
            raise InputError("Spark found no Java; install Java 17 or 21 (Debian: openjdk-17-jre-headless)") from error
        raise
    quiet(spark)
    return spark


def _settings(config: Config | None) -> dict[str, str]:
    from udfs.jars import delta_coordinates, delta_jars_present

    settings = _DELTA | _WRITING
    settings.update({f"spark.executorEnv.{name}": value for name, value in SINGLE_THREAD.items()})
    packages = list(config.spark.packages) if config else []
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has chosen master and memory
    if not submitted:
        settings.update(_LOCAL)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        options = ["-XX:+UseSerialGC"] if cores <= _FEW_CORES else []
        if not os.environ.get("ALMANAC_DEBUG"):
            options.append(f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}")
        settings["spark.driver.extraJavaOptions"] = " ".join(options)
        settings["spark.master"] = (config.spark.master if config else None) or f"local[{cores},4]"
        if not delta_jars_present():
            packages.append(delta_coordinates())
    if packages:
        settings["spark.jars.packages"] = ",".join(packages)
    if config:
        settings.update({key: str(value) for key, value in config.spark.conf.items()})
    return settings


def quiet(spark: SparkSession) -> None:
    """Keep Spark's log out of the terminal of a session that we opened; ALMANAC_DEBUG=1 leaves it in."""
    if os.environ.get("ALMANAC_DEBUG"):
        return
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
    try:
        spark.sparkContext.setLogLevel("FATAL")
    except Exception:
        logging.getLogger(__name__).debug("log level left as it is")
