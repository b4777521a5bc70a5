"""Delta's jars: what is resolved, what is copied, and what is said when that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from udfs import jars


@pytest.fixture
def spark_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the folder of the installed pyspark, with two of Spark's own jars."""
    (tmp_path / "jars").mkdir()
    for name in ("spark-core_2.13-4.2.0.jar", "jackson-core-2.21.2.jar"):
        (tmp_path / "jars" / name).write_text("spark's")
    monkeypatch.delenv("SPARK_HOME", raising=False)
    monkeypatch.setattr(jars, "_pyspark_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replaces the network: Ivy's answer for the installed versions; gives the artifacts named as provided."""
    _, artifact, version = jars.delta_coordinates().split(":")
    answer = tmp_path / "answer"
    answer.mkdir()
    for name in (f"io.delta_{artifact}-{version}.jar", f"io.delta_delta-storage-{version}.jar", "z.org_zlib-1.0.jar"):
        (answer / name).write_text("delta's")
    asked: list[list[str]] = []

    def resolve(coordinates: str, ivy: Path, provided: list[str]) -> list[Path]:
        assert coordinates == jars.delta_coordinates()
        assert ivy.name == "ivy"
        asked.append(provided)
        return sorted(answer.glob("*.jar"))

    monkeypatch.setattr(jars, "_resolve", resolve)
    return asked


def test_coordinates_name_the_installed_delta() -> None:
    from importlib.metadata import version

    group, artifact, delta = jars.delta_coordinates().split(":")
    assert (group, delta) == ("io.delta", version("delta-spark"))
    assert artifact.startswith("delta-spark_")


def test_first_install_copies_and_the_next_does_nothing(spark_folder: Path, resolved: list[list[str]]) -> None:
    assert not jars.delta_jars_present()
    copied = jars.install_delta_jars()
    assert len(copied) == 3
    assert all(path.read_text() == "delta's" for path in copied)
    assert jars.delta_jars_present()
    assert jars.install_delta_jars() == []
    assert resolved == [["jackson-core", "spark-core_2.13"]]
    assert len(list((spark_folder / "jars").iterdir())) == 5


@pytest.mark.usefixtures("spark_folder")
def test_an_interrupted_copy_is_done_again(resolved: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    whole, left = jars._copy_whole, 2

    def full_disk(source: Path, target: Path) -> Path:
        nonlocal left
        if not left:
            raise OSError("No space left on device")
        left -= 1
        return whole(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(jars, "_copy_whole", full_disk)
        with pytest.raises(jars.JarsError, match="No space left"):
            jars.install_delta_jars()
    assert not jars.delta_jars_present()
    assert len(jars.install_delta_jars()) == 3
    assert len(resolved) == 2


def test_another_version_is_replaced(spark_folder: Path, resolved: list[list[str]]) -> None:
    old = spark_folder / "jars" / "almanac-io.delta_delta-spark_2.13-4.0.0.jar"
    old.write_text("old")
    jars.install_delta_jars()
    assert not old.exists()
    assert resolved == [["jackson-core", "spark-core_2.13"]]  # a copy of ours does not count as Spark's own


def test_a_cluster_with_delta_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jars").mkdir()
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    assert not jars.delta_jars_present()
    (tmp_path / "jars" / "delta-spark_2.13-4.0.0.jar").touch()
    assert jars.delta_jars_present()


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo 'JAVA_HOME is not set' >&2; exit 1", "JAVA_HOME is not set"),
        ("echo noise; echo 'unresolved dependency: io.delta#x: not found'; exit 1", "unresolved dependency"),
        ("exit 0", "gave no output"),
    ],
)
def test_failure_is_one_sentence_with_its_cause(
    spark_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, cause: str
) -> None:
    submit = spark_folder / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.write_text(f"#!/bin/sh\n{script}\n")
    submit.chmod(0o755)
    monkeypatch.setattr("sys.prefix", str(spark_folder))
    assert jars.main() == 1
    message = capsys.readouterr().err
    assert cause in message
    assert "Java 17" in message
    assert message.count("\n") == 1
