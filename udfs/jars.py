"""Delta's jars: resolved once, then part of the virtual environment's own Spark.

pip installs Delta's Python half; its jars are on Maven Central. ``spark.jars.packages`` resolves them at the start of
every session, which costs seconds each time and needs the network or a filled cache. `install_delta_jars` lets Spark's
own Ivy resolve them once and copies the result into the ``jars`` folder of the installed pyspark, where every later
session finds them by itself. Where they are missing (`delta_jars_present` is false) a session can still ask for
`delta_coordinates` through ``spark.jars.packages``.

``python -m udfs.jars`` installs them, and returns at once where they are there already.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RESOLVE_SECONDS = 1200
_OURS = "almanac-"  # tells our copies from Spark's own jars


class JarsError(RuntimeError):
    """Delta's jars could not be resolved or stored; the message says what to do."""


def _pyspark_folder() -> Path:
    import pyspark

    return Path(pyspark.__file__).resolve().parent


def delta_coordinates() -> str:
    """The Maven coordinates (``group:artifact:version``) that fit the installed delta-spark and pyspark.

    The artifact's name holds the Spark version in newer releases of Delta and not in older ones; delta-spark knows its
    own rule. Raises ImportError when delta-spark is not installed.
    """
    from delta import configure_spark_with_delta_pip
    from pyspark.sql import SparkSession

    builder = configure_spark_with_delta_pip(SparkSession.Builder())
    return str(builder._options["spark.jars.packages"])


def delta_jars_present() -> bool:
    """Whether the Spark that a local session would start (SPARK_HOME, else pyspark's own) has Delta among its jars."""
    home = Path(os.environ.get("SPARK_HOME") or _pyspark_folder())
    return any((home / "jars").glob("*delta-spark_*.jar"))


def install_delta_jars() -> list[Path]:
    """Copy Delta's jars into the installed pyspark; the copied files, none where the right version is already there.

    Ivy's cache lies in ``ivy`` inside the virtual environment. Jars that Spark itself brings are left to Spark, and
    copies of another Delta version are removed. Raises `JarsError` when the jars cannot be had or stored.
    """
    jars = _pyspark_folder() / "jars"
    _, artifact, version = delta_coordinates().split(":")
    if any(jars.glob(f"*{artifact}-{version}.jar")):
        return []
    ivy = Path(sys.prefix) / "ivy"
    resolved = _resolve(delta_coordinates(), ivy, _artifacts(jars))
    try:
        for stale in jars.glob(f"{_OURS}*.jar"):
            stale.unlink()
        # Delta itself last: its presence says that everything it needs is there, also after an interrupted copy.
        ordered = sorted(resolved, key=lambda jar: (f"{artifact}-{version}" in jar.name, jar.name))
        return [_copy_whole(jar, jars / f"{_OURS}{jar.name}") for jar in ordered]
    except OSError as error:
        raise JarsError(f"Delta's jars could not be stored in {jars}: {error}. Make that folder writable.") from error


def _artifacts(jars: Path) -> list[str]:
    """Artifact names of the jars in a folder (``name-1.2.3.jar`` is ``name``), without copies of ours."""
    names = (re.match(r"(.+?)-\d", jar.name) for jar in jars.glob("*.jar") if not jar.name.startswith(_OURS))
    return sorted({name.group(1) for name in names if name})


def _copy_whole(source: Path, target: Path) -> Path:
    """Copy so that a reader sees the whole file or none."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.copyfile(source, part)
    part.replace(target)
    return target


def _resolve(coordinates: str, ivy: Path, provided: list[str]) -> list[Path]:
    """Let spark-submit resolve and download `coordinates` without the `provided` artifacts; the jars' paths."""
    spark = _pyspark_folder()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYSPARK_")}
    environment |= {"SPARK_HOME": str(spark), "PYSPARK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory() as folder:
        nothing = Path(folder) / "nothing.py"  # spark-submit resolves packages on the way to running a program
        nothing.write_text("")
        command = [str(spark / "bin" / "spark-submit"), "--master", "local[1]", "--packages", coordinates]
        command += ["--exclude-packages", ",".join(f"*:{name}" for name in provided)]
        command += ["--conf", f"spark.jars.ivy={ivy}", str(nothing)]
        shutil.rmtree(ivy / "jars", ignore_errors=True)
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=RESOLVE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise JarsError(_advice(coordinates, f"no answer in {RESOLVE_SECONDS} seconds")) from error
    found = sorted((ivy / "jars").glob("*.jar"))
    if done.returncode or not found:
        raise JarsError(_advice(coordinates, _cause(done.stdout + done.stderr)))
    return found


def _cause(log: str) -> str:
    """The line of spark-submit's output that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    marks = ("JAVA_HOME", "UnsupportedClassVersion", "unresolved dependency", "Exception", "rror")
    telling = [line for mark in marks for line in lines if mark in line]
    return (telling or lines[-1:] or ["spark-submit gave no output"])[0]


def _advice(coordinates: str, cause: str) -> str:
    return (
        f"Delta's jars ({coordinates}) could not be resolved from Maven Central: {cause}. They need Java 17 or "
        "newer and, this one time, the network; behind a mirror, name it in the variable DEFAULT_ARTIFACT_REPOSITORY."
    )


def main() -> int:
    """Install the jars and say so; the exit code."""
    try:
        copied = install_delta_jars()
    except JarsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if copied:
        sys.stderr.write(f"Delta's jars are in place: {len(copied)} files in {copied[0].parent}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
