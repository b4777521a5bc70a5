"""Delta tables of an object store: the same rows as from a folder, and what is said where one cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from udfs.config.schema import LakeConfig
from udfs.delta_files import lake_root, open_table, read_files, rows_by
from udfs.errors import InputError

deltalake = pytest.importorskip("deltalake")


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/data/lake", "/data/lake"),
        ("file:///data/lake", "/data/lake"),
        ("lake", str(Path("lake").absolute())),
        ("s3a://bucket/some/lake/", "s3a://bucket/some/lake"),
        ("abfss://box@account.dfs.core.windows.net/lake", "abfss://box@account.dfs.core.windows.net/lake"),
        ("gs://bucket/lake", "gs://bucket/lake"),
    ],
)
def test_where_a_lake_is(path: str, root: str) -> None:
    assert lake_root(LakeConfig(path=path)) == root


@pytest.mark.parametrize("path", ["dbfs:/lake", "hdfs://name/lake", "http://host/lake"])
def test_a_store_that_is_not_known_is_refused(path: str) -> None:
    with pytest.raises(InputError, match=r"a folder or a store \(s3://.*mount it"):
        lake_root(LakeConfig(path=path))


def test_files_are_read_through_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        rows = pa.table({"x": [k, k + 10], "name": [f"a b{k}", None], "part": [f"p %{k}", "q"]})
        deltalake.write_deltalake(str(tmp_path / "things"), rows, mode="append", partition_by=["part"])
    found = []
    for store in (False, True):
        monkeypatch.setattr("udfs.delta_files.is_store", lambda path, store=store: store)
        table = open_table(str(tmp_path), "things")
        assert table is not None
        chosen = pa.concat_tables(read_files(table, ["x", "part"], {"part": ["p %1", "q"]}))
        found.append((pa.concat_tables(read_files(table, ["name", "x"])), chosen, rows_by(table, "part")))
    assert found[0] == found[1]
    assert found[1][1].sort_by("x").to_pydict() == {"x": [1, 10, 11, 12], "part": ["p %1", "q", "q", "q"]}
    assert found[1][2] == {"p %0": 1, "p %1": 1, "p %2": 1, "q": 3}


def test_a_store_that_lets_nobody_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise OSError("403 Forbidden\nmore")

    monkeypatch.setattr(deltalake.DeltaTable, "is_deltatable", refuse)
    with pytest.raises(InputError, match=r"s3://bucket/lake/series cannot be reached: 403 Forbidden; .*AWS_"):
        open_table("s3://bucket/lake", "series")
