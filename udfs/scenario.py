"""What-if scenarios of a file, checked against the data that they change, and their place in a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from forecasting.batch import SeriesBatch
from forecasting.frequency import Frequency, Int64Array
from forecasting.scenarios import TIMESTAMP, Change, Replacements, Scenario
from udfs.arrow import joined_keys, label_microseconds
from udfs.config import Config
from udfs.errors import InputError, first_line
from udfs.packed_series import METADATA_PREFIX
from udfs.schemas import BASELINE

if TYPE_CHECKING:
    from udfs.spec import TaskSpec

_PARTS = ("changes", "replacements")


def with_scenario(piece: pa.RecordBatch, batch: SeriesBatch, spec: TaskSpec) -> SeriesBatch:
    """The series of a piece with the related values of the task's scenario, if it has one. They take the place of
    filled values, and features are made of them."""
    if spec.scenario is None:
        return batch
    compared = {name: _column(piece, name, spec.key).to_pylist() for name in spec.scenario.compared}
    return spec.scenario.applied(batch, spec.horizon, compared)


def _column(piece: pa.RecordBatch, name: str, key: tuple[str, ...]) -> pa.Array:
    return piece.column(name if name in key else METADATA_PREFIX + name)


def read_scenarios(
    file: Path, config: Config, frequency: Frequency, keys: Sequence[str], first_step: Int64Array
) -> tuple[Scenario, ...]:
    """The scenarios of a YAML or JSON file: names with `changes` (texts, or `change` with its `where`), `replacements`
    (a Parquet or CSV file or a Delta folder, from the file's folder), or both.

    keys, first_step: of the series that are forecast, N, and the ordinals of their first step, int64 [N].
    Raises InputError with all that is wrong in it, replacements of other items or periods included.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"scenario file {file} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"scenario file {file} cannot be read: {error}") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"scenario file {file} holds no scenarios; expected names with `changes` or `replacements`")
    related = {name: column.known_in_future for name, column in config.data.related_columns.items()}
    attributes = (*config.key, *config.data.attributes)
    problems: list[str] = []
    found = []
    for name, parts in content.items():
        one = _Reading(str(name), file.parent, config, frequency)
        scenario = one.scenario(parts)
        problems += one.problems
        if scenario.columns or not one.problems:  # of what could not be read it would say that it changes nothing
            problems += scenario.problems(related, attributes)
        if scenario.replacements is not None:
            misplaced = scenario.replacements.misplaced(keys, first_step, config.horizon)
            problems += [f"scenario {name}: {problem}" for problem in misplaced]
        found.append(scenario)
    if problems:
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "1 mistake"
        raise InputError("\n".join([f"{file} has {count}:", *(f"  {p}" for p in problems)]))
    return tuple(found)


class _Reading:
    """One scenario of a file, and what is wrong with how it is written."""

    def __init__(self, name: str, folder: Path, config: Config, frequency: Frequency) -> None:
        self.name, self.folder, self.config, self.frequency = name, folder, config, frequency
        self.problems: list[str] = []

    def scenario(self, parts: Any) -> Scenario:
        """What could be read of it."""
        if self.name == BASELINE:
            self._wrong(f"the name {BASELINE} is that of the forecast without a scenario; give another")
        if not isinstance(parts, Mapping) or not set(parts) <= set(_PARTS):
            self._wrong(
                f"expected {' and '.join(_PARTS)}, got {parts if not isinstance(parts, Mapping) else [*parts]}"
            )
            return Scenario(self.name)
        changes = parts.get("changes") or []
        read = [self._change(change) for change in (changes if isinstance(changes, list) else [changes])]
        place = parts.get("replacements")
        replacements = None if place is None else self._replacements(self.folder / str(place))
        return Scenario(self.name, tuple(change for change in read if change is not None), replacements)

    def _wrong(self, problem: str) -> None:
        self.problems.append(f"scenario {self.name}: {problem}")

    def _change(self, given: Any) -> Change | None:
        text, where = (given.get("change"), given.get("where", [])) if isinstance(given, Mapping) else (given, [])
        odd = sorted(map(str, set(given) - {"change", "where"})) if isinstance(given, Mapping) else []
        if odd:
            self._wrong(f"a change has {', '.join(odd)}; expected change and where")
        try:
            return Change.parse(str(text), [str(part) for part in (where if isinstance(where, list) else [where])])
        except ValueError as error:
            self._wrong(str(error))
            return None

    def _replacements(self, place: Path) -> Replacements | None:
        try:
            table = _read_table(place, self.config.key)
        except FileNotFoundError:
            self._wrong(f"replacements {place} do not exist")
            return None
        except (OSError, ValueError, pa.ArrowException) as error:
            self._wrong(f"replacements {place} cannot be read: {first_line(error)}")
            return None
        needed, before = (*self.config.key, TIMESTAMP), len(self.problems)
        if missing := [name for name in needed if name not in table.column_names]:
            self._wrong(f"replacements {place} lack the columns {', '.join(missing)}")
            return None
        keys = table.select(self.config.key).cast(pa.schema([(name, pa.string()) for name in self.config.key]))
        for name in needed:
            if n := table.column(name).null_count:
                self._wrong(f"{n} rows of {place} have no {name}")
        moments = self._as(table.column(TIMESTAMP), pa.timestamp("us"), f"{TIMESTAMP} of {place}")
        values = {
            name: self._as(table.column(name), pa.float64(), f"{name} of {place}")
            for name in table.column_names
            if name not in needed
        }
        if len(self.problems) > before or moments is None:
            return None
        batch = keys.combine_chunks().to_batches()
        return Replacements(
            keys=[key for part in batch for key in joined_keys(part, self.config.key)],
            ordinals=self.frequency.ordinals(label_microseconds(moments)),
            values={name: np.asarray(c.to_numpy(zero_copy_only=False)) for name, c in values.items() if c is not None},
        )

    def _as(self, column: pa.ChunkedArray, kind: pa.DataType, what: str) -> pa.Array | None:
        try:
            whole = column.combine_chunks()
            whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
            if pa.types.is_timestamp(whole.type) and whole.type.tz is not None:
                whole = pc.local_timestamp(whole)
            return whole.cast(kind)
        except pa.ArrowException as error:
            wanted = "timestamps without a zone" if pa.types.is_timestamp(kind) else "numbers"
            self._wrong(f"{what} are no {wanted}: {first_line(error)}")
            return None


def _read_table(place: Path, texts: Sequence[str]) -> pa.Table:
    """A Parquet or CSV file, or a Delta folder."""
    if not place.exists():
        raise FileNotFoundError(place)
    if place.is_dir():
        from deltalake import DeltaTable

        if not DeltaTable.is_deltatable(str(place)):
            raise ValueError("the folder is no Delta table")
        return DeltaTable(str(place)).to_pyarrow_table()
    if place.suffix == ".csv":
        import pyarrow.csv

        kinds = dict.fromkeys(texts, pa.string())  # an item called 007 is no number
        options = pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=True)
        return pyarrow.csv.read_csv(place, convert_options=options)
    import pyarrow.parquet

    return pyarrow.parquet.read_table(place)


__all__ = ["read_scenarios", "with_scenario"]
