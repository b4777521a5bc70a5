"""The lifecycle of packed series and the reason for it, as columns of Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.lifecycle import DORMANT, ENDED, NEW, RETURNING, STATES, Quiet, SilenceRule, quiet

REASON = "lifecycle_reason"


def state_columns(
    values: FloatArray, offsets: Int64Array, start: Int64Array, end: Int64Array, rule: SilenceRule, season: int
) -> dict[str, pa.Array]:
    """`lifecycle` and `lifecycle_reason` of N series; end: int64 [N], the last period of the data as each sees it."""
    found = quiet(values, offsets, start, end[:, None], rule, season)
    code = found.states(rule, season)[:, 0]
    state = pa.array(STATES, pa.string()).take(pa.array(code.astype(np.int64)))
    return {"lifecycle": state, REASON: _reasons(found, code, rule, season)}


def _reasons(
    found: Quiet, code: np.ndarray[tuple[int, ...], np.dtype[np.int8]], rule: SilenceRule, season: int
) -> pa.Array:
    """In words and numbers; NULL for active series, of which there is nothing to say."""
    few = season if rule.new_below is None else rule.new_below
    silent, gap, since, before, seen = (
        pa.array(a[:, 0]).cast(pa.string()) for a in (found.silent, found.gap, found.since, found.before, found.n_obs)
    )
    quiet_for = _joined("silent ", silent, " periods, longest gap ", gap)
    counted = _joined("", seen, f" observations, fewer than {few}")
    back = _joined("sold again ", since, " periods ago after ", before, " silent")
    texts = {
        NEW: pc.if_else(pa.array(found.n_obs[:, 0] > 0), counted, "no observations"),
        ENDED: quiet_for,
        DORMANT: quiet_for,
        RETURNING: back,
    }
    reason = pa.nulls(len(code), pa.string())
    for name, text in texts.items():
        reason = pc.if_else(pa.array(code == STATES.index(name)), text, reason)
    return reason


def _joined(*parts: str | pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")
