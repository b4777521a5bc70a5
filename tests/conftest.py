"""One Spark session for the whole run, and a lake of its own for every test that wants one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of modules that import torch (`torch = pytest.importorskip("torch")`), for `make test-gpu`."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item.module, "torch"):
            item.add_marker(pytest.mark.torch)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A local session with two task slots and a warehouse of its own."""
    from udfs.session import open_session

    folder = tmp_path_factory.mktemp("spark")
    session = open_session(
        settings={
            "spark.master": "local[2,4]",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.sql.shuffle.partitions": "2",
            "spark.hadoop.javax.jdo.option.ConnectionURL": "jdbc:derby:memory:almanac;create=true",
            # Thousands of small queries, each run once: interpreting one is quicker than to generate and compile code.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m",
            **{f"spark.ui.retained{kind}": "10" for kind in ("Jobs", "Stages", "Tasks")},
            "spark.sql.ui.retainedExecutions": "10",
        }
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """One thread for torch: two small trainings side by side would wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shared_data() -> Path:
    """The folder of benchmark sets beside the checkout; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the benchmark sets are not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A small valid config as a mapping, with a lake in the test's folder; keywords replace whole sections."""

    def make(**sections: Any) -> dict[str, Any]:
        config: dict[str, Any] = {
            "dataset_group": "test_group",
            "frequency": "D",
            "horizon": 7,
            "data": {"target": {"path": str(tmp_path / "target.csv")}},
            "models": {"naive": {}, "seasonal_naive": {}},
            "backtest": {"windows": 2},
            "lake": {"path": str(tmp_path / "lake"), "buckets": 4},
        }
        return config | sections

    return make
