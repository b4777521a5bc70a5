"""The source of a row as a number while rows are grouped: it moves and compares faster than a path.

The number is the source's place among the sorted names of those that are read together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CODE = "#source"
_BETWEEN = "\0"  # no name holds it


def coded(rows: DataFrame, sources: Iterable[str]) -> DataFrame:
    """Rows with the number of their source in `source`."""
    from pyspark.sql import functions as F

    names = sorted(sources)
    if len(names) == 1:
        return rows.withColumn("source", F.lit(0))
    codes = rows.sparkSession.createDataFrame(list(enumerate(names)), f"`{CODE}` int, source string")
    return rows.join(F.broadcast(codes), "source", "left").withColumn("source", F.col(CODE)).drop(CODE)


def decoded(rows: DataFrame, sources: Iterable[str]) -> DataFrame:
    """Those rows with the names in `source` again, and the numbers in `#source`."""
    from pyspark.sql import functions as F

    names = F.split(F.lit(_BETWEEN.join(sorted(sources))), _BETWEEN)
    return rows.withColumns({CODE: F.col("source"), "source": F.get(names, F.col("source"))})
