"""One cell of an LSTM layer for a tile of sample paths, written as LLVM vectors.

A loop that LLVM vectorises by itself keeps the sums of the gates in memory and spends most of its time there. Here
they stay in registers from the first product to the new state: a tile is as many paths as they have room for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config
from numba.core import cgutils, types
from numba.core.extending import intrinsic

PANEL = 64
"""Paths side by side in memory, a multiple of TILE."""
_target: Any = config
_FEATURES = _target.CPU_FEATURES or ("" if _target.CPU_NAME else binding.get_host_cpu_features().flatten())
LANES, _VECTORS = (16, 4) if "+avx512f" in _FEATURES else (8, 2)
"""Numbers in a vector, and vectors in a tile: 16 sums, and what they are made of, in 32 registers; 8 sums in 16."""
TILE = LANES * _VECTORS

GATES = 4
_LIMIT = 40.0
"""Of exponents of 2: beyond, a sigmoid is 0 or 1; and a product of three such powers is finite."""
_SHIFT = 1.5 * 2.0**23
"""Added to a small number, it leaves the nearest integer in the last bits of the sum."""
_NODES = 0.5 * np.cos(np.pi * (np.arange(200) + 0.5) / 200)
_RELATIVE = np.vander(_NODES, 6, increasing=True) / np.exp2(_NODES)[:, None]
_POWERS = np.linalg.lstsq(_RELATIVE, np.ones(200), rcond=None)[0]
"""2^f for f in -1/2 to 1/2 by a polynomial: least squares of the relative error in Chebyshev's nodes."""

_intrinsic: Callable[[Callable[..., Any]], Callable[..., None]] = intrinsic  # as compiled functions call it
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _WORDS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


@_intrinsic
def advance_cell(
    _: Any,
    weights: Any,
    own_at: Any,
    below_at: Any,
    own: Any,
    own_rows_at: Any,
    n_own: Any,
    below: Any,
    below_rows_at: Any,
    n_below: Any,
    starts: Any,
    before_at: Any,
    after_at: Any,
    cut: Any,
    cells: Any,
    hidden: Any,
    at: Any,
) -> Any:
    """Advance one cell of a layer by a step for the TILE paths of a tile.

    All arrays are flat and float32, `*_at` is where what is used of them begins. own, below: n_own and n_below rows
    that are PANEL apart, the layer's states after the step before and what comes from below. weights: at own_at
    [n_own, 4] and at below_at [n_below, 4], of the gates input, forget, cell, output; those of the cell gate times
    -2 / ln 2, the others times -1 / ln 2. starts: what the sums begin with, scaled like the weights: the 4 numbers at
    before_at for the first `cut` paths of the tile, those at after_at for the rest. cells: read and written. hidden:
    written.
    """
    factors, rows = (weights, own_at, below_at), (own, own_rows_at, n_own, below, below_rows_at, n_below)
    return types.void(*factors, *rows, starts, before_at, after_at, cut, cells, hidden, at), _emit_cell


def _emit_cell(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
    _, own_at, below_at, _, own_rows_at, n_own, _, below_rows_at, n_below, *rest = arguments
    _, before_at, after_at, cut, _, _, at = rest

    def pointer(k: int, place: Any) -> Any:
        return builder.gep(context.make_array(signature.args[k])(context, builder, arguments[k]).data, [place])

    v = _Vectors(builder, n_own.type)
    before, after, state, output = pointer(9, before_at), pointer(9, after_at), pointer(13, at), pointer(14, at)
    sums = []
    limit = v.splat(builder.trunc(cut, _INT))
    for k in range(GATES):
        first, second = v.splat(v.scalar(before, k)), v.splat(v.scalar(after, k))
        for lanes in range(0, TILE, LANES):
            place = ir.Constant(_WORDS, list(range(lanes, lanes + LANES)))
            sums.append(cgutils.alloca_once(builder, _VECTOR))  # type: ignore[no-untyped-call]
            builder.store(builder.select(builder.icmp_signed("<", place, limit), first, second), sums[-1])
    v.add_products(pointer(0, own_at), GATES, pointer(3, own_rows_at), n_own, sums)
    v.add_products(pointer(0, below_at), GATES, pointer(6, below_rows_at), n_below, sums)
    one = v.constant(1.0)
    for j in range(_VECTORS):
        i, f, g, o = (v.power(builder.load(sums[k * _VECTORS + j])) for k in range(GATES))
        # sigmoid = 1 / (1 + e), tanh = (1 - e) / (1 + e): one division for three gates, one for the output
        both = builder.fmul(builder.fadd(one, i), builder.fadd(one, g))
        kept = builder.fadd(one, f)
        old = v.load(state, j * LANES)
        new = v.fused(old, both, builder.fmul(builder.fsub(one, g), kept))
        new = builder.fdiv(new, builder.fmul(both, kept))
        v.store(new, state, j * LANES)
        c = v.power(builder.fmul(new, v.constant(-2.0 / math.log(2.0))))
        below = builder.fmul(builder.fadd(one, o), builder.fadd(one, c))
        v.store(builder.fdiv(builder.fsub(one, c), below), output, j * LANES)
    return context.get_dummy_value()


@_intrinsic
def weigh_rows(
    _: Any,
    start: Any,
    weights: Any,
    weights_at: Any,
    inputs: Any,
    inputs_at: Any,
    n_rows: Any,
    out: Any,
    out_at: Any,
) -> Any:
    """out = start + the sum of n_rows rows of inputs, PANEL apart, times the weights, for the paths of a tile."""
    return types.void(start, weights, weights_at, inputs, inputs_at, n_rows, out, out_at), _emit_rows


def _emit_rows(context: Any, builder: Any, signature: Any, arguments: Sequence[Any]) -> Any:
    start, weights, weights_at, inputs, inputs_at, n_rows, out, out_at = arguments
    weight, row, output = (
        builder.gep(context.make_array(signature.args[k])(context, builder, array).data, [at])
        for k, array, at in ((1, weights, weights_at), (3, inputs, inputs_at), (6, out, out_at))
    )
    v = _Vectors(builder, n_rows.type)
    begin = v.splat(start)
    sums = [cgutils.alloca_once_value(builder, begin) for _ in range(_VECTORS)]  # type: ignore[no-untyped-call]
    v.add_products(weight, 1, row, n_rows, sums)
    for j, total in enumerate(sums):
        v.store(builder.load(total), output, j * LANES)
    return context.get_dummy_value()


class _Vectors:
    """Vector arithmetic on an IR builder. A product and a sum may be fused; nothing else is rearranged."""

    def __init__(self, builder: Any, index: Any) -> None:
        self._builder = builder
        self.index = index

    def constant(self, value: float) -> Any:
        return ir.Constant(_VECTOR, [float(np.float32(value))] * LANES)

    def scalar(self, pointer: Any, k: int) -> Any:
        return self._builder.load(self._builder.gep(pointer, [self.index(k)]))

    def splat(self, scalar: Any) -> Any:
        kind = ir.VectorType(scalar.type, LANES)
        nothing = ir.Constant(kind, ir.Undefined)
        first = self._builder.insert_element(nothing, scalar, _INT(0))
        return self._builder.shuffle_vector(first, nothing, ir.Constant(_WORDS, [0] * LANES))

    def load(self, pointer: Any, at: int) -> Any:
        place = self._builder.bitcast(self._builder.gep(pointer, [self.index(at)]), _VECTOR.as_pointer())
        return self._builder.load(place, align=4)

    def store(self, value: Any, pointer: Any, at: int) -> None:
        place = self._builder.bitcast(self._builder.gep(pointer, [self.index(at)]), _VECTOR.as_pointer())
        self._builder.store(value, place, align=4)

    def fused(self, x: Any, y: Any, z: Any) -> Any:
        """x y + z."""
        return self._builder.fadd(self._builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

    def add_products(self, weight: Any, n_weights: int, row: Any, n_rows: Any, sums: Sequence[Any]) -> None:
        """Add the rows of a tile with the weights [n_rows, n_weights] to the sums, n_weights times a tile."""
        b = self._builder
        with cgutils.for_range(b, n_rows) as loop:
            own = b.gep(row, [b.mul(loop.index, self.index(PANEL))])
            factors = b.gep(weight, [b.mul(loop.index, self.index(n_weights))])
            values = [self.load(own, lanes) for lanes in range(0, TILE, LANES)]
            for k in range(n_weights):
                factor = self.splat(self.scalar(factors, k))
                for value, total in zip(values, sums[k * _VECTORS : (k + 1) * _VECTORS], strict=True):
                    b.store(self.fused(factor, value, b.load(total)), total)

    def power(self, t: Any) -> Any:
        """2^t, for t cut at the limit; NaN stays NaN."""
        b = self._builder
        high, low, shift = self.constant(_LIMIT), self.constant(-_LIMIT), self.constant(_SHIFT)
        t = b.select(b.fcmp_ordered("<", high, t), high, t)
        t = b.select(b.fcmp_ordered(">", low, t), low, t)
        shifted = b.fadd(t, shift)
        f = b.fsub(t, b.fsub(shifted, shift))
        p = self.constant(_POWERS[-1])
        for coefficient in _POWERS[-2::-1]:
            p = self.fused(p, f, self.constant(coefficient))
        whole = b.shl(b.bitcast(shifted, _WORDS), ir.Constant(_WORDS, [23] * LANES))
        return b.bitcast(b.add(b.bitcast(p, _WORDS), whole), _VECTOR)
