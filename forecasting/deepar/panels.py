"""Sample paths on a CPU, a panel of 64 at a time: all layers and the head of one step while the panel is in the cache.

What torch would do in a dozen passes over all paths is one pass here, and a step costs little more than its products.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from forecasting.deepar.kernels import Float32Array
from forecasting.deepar.likelihoods import Gaussian, Law, StudentT
from forecasting.deepar.network import Network
from forecasting.deepar.noise import Noise
from forecasting.deepar.polar_draws import draw_polar
from forecasting.deepar.vector_cell import GATES, PANEL, TILE, advance_cell, weigh_rows
from forecasting.deepar.windows import SCALED_LIMIT
from forecasting.frequency import Int64Array


def panels_do(network: Network, n_samples: int) -> bool:
    """Whether panels can do: numbers of 32 bits on a CPU, and no more than two series in a panel."""
    weight = network.head.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and n_samples >= PANEL


@numba.njit(cache=True, nogil=True)
def advance(
    first: int,
    last: int,
    n_samples: int,
    parted: bool,
    weights: Float32Array,
    starts: Float32Array,
    later_starts: Float32Array,
    known: Float32Array,
    rows: Int64Array,
    head: Float32Array,
    bias: Float32Array,
    cells: Float32Array,
    old: Float32Array,
    hidden: Float32Array,
    raw: Float32Array,
) -> None:
    """Advance panels first to last by a step. Flat arrays are laid out as `advance_cell` reads them.

    parted: whether the paths of a series have states of their own; if not, `old` is not read and its part is in the
    starts. weights: of all layers [C, K, 4], flat; the K rows are the C states, then what comes from below. starts:
    [B, C, 4], flat; later_starts: of each other layer [1, C, 4] or, if not parted, [B, C, 4], flat. known: [H, n],
    sampled values in scales; rows: which of them the lags are. head: [P, C], flat; bias: [P]. cells, old, hidden:
    [panels, layers, C, PANEL], flat; the cells are written over, the states after the step before are not. raw: flat
    [P, n].
    """
    size, n_cells, n = len(bias), len(head) // len(bias), known.shape[1]
    per_series, block = n_cells * GATES, n_cells * PANEL
    n_series = len(starts) // per_series
    n_layers = 1 + len(later_starts) // (per_series if parted else per_series * n_series)
    lagged = len(weights) // per_series - 2 * n_cells * n_layers + n_cells  # rows of the first layer from below
    n_own = n_cells if parted else 0
    latest = np.empty(len(rows) * PANEL, dtype=np.float32)
    for panel in range(first, last):
        series = panel * PANEL // n_samples
        cut = (series + 1) * n_samples - panel * PANEL
        following = min(series + 1, n_series - 1)
        for j in range(len(rows)):
            latest[j * PANEL : (j + 1) * PANEL] = known[rows[j], panel * PANEL : (panel + 1) * PANEL]
        weight = 0
        for layer in range(n_layers):
            place = (panel * n_layers + layer) * block
            if layer == 0:
                below, below_at, n_below, width = latest, 0, len(rows), (n_cells + lagged) * GATES
                begin, before, after = starts, series * per_series, following * per_series
            else:
                below, below_at, n_below, width = hidden, place - block, n_cells, 2 * per_series
                begin, before, after = later_starts, (layer - 1) * per_series, (layer - 1) * per_series
                if not parted:
                    before = ((layer - 1) * n_series + series) * per_series
                    after = ((layer - 1) * n_series + following) * per_series
            for cell in range(n_cells):
                for lane in range(0, PANEL, TILE):
                    advance_cell(
                        weights,
                        weight,
                        weight + per_series,
                        old,
                        place + lane,
                        n_own,
                        below,
                        below_at + lane,
                        n_below,
                        begin,
                        before + cell * GATES,
                        after + cell * GATES,
                        cut - lane,
                        cells,
                        hidden,
                        place + cell * PANEL + lane,
                    )
                weight += width
        top = (panel * n_layers + n_layers - 1) * block
        for q in range(size):
            for lane in range(0, PANEL, TILE):
                at = q * n + panel * PANEL + lane
                weigh_rows(bias[q], head, q * n_cells, hidden, top + lane, n_cells, raw, at)


@dataclass(frozen=True)
class Sampled:
    """Sample paths, one step after the other. paths, scaled: [H, n], values in the unit of the data and in scales cut
    at the limit, of the B S paths and what fills the last panel; means: [H, B]."""

    paths: Tensor
    scaled: Tensor
    means: Tensor

    @classmethod
    def empty(cls, horizon: int, n_series: int, n_samples: int, device: torch.device) -> Sampled:
        n = -(-n_series * n_samples // PANEL) * PANEL
        paths = torch.zeros(horizon, n, device=device)
        return cls(paths, torch.zeros_like(paths), torch.empty(horizon, n_series, device=device))

    def put(self, k: int, law: Law, raw: Tensor, scale: Tensor, noise: Noise) -> None:
        """Draw step k of all paths from raw [B, S or 1, P]. scale: [B, 1]."""
        drawn = law.draw(raw, scale, noise)
        self.paths[k, : drawn.numel()] = drawn.flatten()
        self.scaled[k, : drawn.numel()] = (drawn / scale).clamp_(-SCALED_LIMIT, SCALED_LIMIT).flatten()
        self.means[k] = law.mean(raw, scale).mean(1)


def sample_in_panels(
    network: Network,
    lags: Sequence[int],
    states: Sequence[tuple[Tensor, Tensor]],
    inputs: Tensor,
    scale: Tensor,
    noise: Noise,
    found: Sampled,
) -> None:
    """Sample the steps from 1 on; in step 0 the paths of a series share all but their draw.

    states: of each layer after step 0, two [B, 1, C]. inputs: [H, B, I], where what is sampled is 0. scale: [B, 1].
    noise: streams [B, S].
    """
    (n_series, n_samples), (horizon, padded) = noise.seeds.shape, found.paths.shape
    n, n_panels, law = n_series * n_samples, padded // PANEL, network.law
    layers: list[Any] = list(network.layers)
    series = torch.arange(padded).div_(n_samples, rounding_mode="floor").clamp_(max=n_series - 1)
    cell = torch.cat([c for _, c in states], 1)[series]  # [n, layers, C]
    cells = cell.view(n_panels, PANEL, *cell.shape[1:]).permute(0, 2, 3, 1).flatten().numpy()
    old, hidden = np.empty_like(cells), np.empty_like(cells)
    reach = bisect_right(lags, horizon - 1)  # so many lags see sampled values at last
    below = [layer.weight_ih_l0[:, : None if k else reach] for k, layer in enumerate(layers)]
    weights = _flat([_packed(torch.cat([x.weight_hh_l0, y], 1)) for x, y in zip(layers, below, strict=True)])
    first = layers[0]
    known_part = torch.nn.functional.linear(inputs, first.weight_ih_l0, first.bias_ih_l0 + first.bias_hh_l0)
    starts = _by_cell(known_part).flatten(1)
    fixed = [_by_cell(layer.bias_ih_l0 + layer.bias_hh_l0) for layer in layers[1:]]
    onward = [_by_cell(h[:, 0] @ x.weight_hh_l0.t()) for (h, _), x in zip(states, layers, strict=True)]
    starts[1] += onward[0].flatten()
    later = {False: _flat([x + y for x, y in zip(fixed, onward[1:], strict=True)]), True: _flat(fixed)}
    head, bias = network.head.weight.detach().flatten().numpy(), network.head.bias.detach().numpy()
    raw = np.empty((len(bias), padded), dtype=np.float32)
    parameters = torch.from_numpy(raw)[:, :n].view(len(bias), n_series, n_samples).permute(1, 2, 0)
    known, paths = found.scaled.numpy(), found.paths.numpy()
    seeds, scales = pad(noise.seeds.flatten(), (0, padded - n)).numpy(), scale[series, 0].numpy()
    polar, student = isinstance(law, (Gaussian, StudentT)), isinstance(law, StudentT)
    n_threads = min(torch.get_num_threads(), n_panels)
    edges = [n_panels * k // n_threads for k in range(n_threads + 1)]
    with ThreadPoolExecutor(n_threads) as pool:
        run = pool.map if n_threads > 1 else map
        for k in range(1, horizon):
            rows = np.array([k - lag for lag in lags[: bisect_right(lags, k)]], dtype=np.int64)
            own = starts[k].numpy(), later[k > 1]
            step = n_samples, k > 1, weights, *own, known, rows, head, bias, cells, old, hidden, raw.ravel()
            _ = list(run(advance, edges[:-1], edges[1:], *map(repeat, step)))
            old, hidden = hidden, old
            if polar:
                draw_polar(student, raw, scales, seeds, noise.skip(), SCALED_LIMIT, paths[k], known[k])
                found.means[k] = law.mean(parameters, scale).mean(1)
            else:
                found.put(k, law, parameters, scale, noise)


_FACTORS = torch.tensor([-1.0, -1.0, -2.0, -1.0]) / math.log(2.0)
"""With them a gate is 1 / (1 + 2^x), and 2^x is what a machine computes with least."""


def _packed(weight: Tensor) -> Tensor:
    """Weights [4 C, K] as [C, K, 4] flat, scaled."""
    return (weight.view(GATES, -1, weight.shape[1]) * _FACTORS[:, None, None]).permute(1, 2, 0).flatten()


def _by_cell(sums: Tensor) -> Tensor:
    """Sums [..., 4 C] as [..., C, 4], scaled."""
    return (sums.view(*sums.shape[:-1], GATES, -1) * _FACTORS[:, None]).transpose(-1, -2).contiguous()


def _flat(parts: Sequence[Tensor]) -> Float32Array:
    return torch.cat([torch.empty(0), *(part.flatten() for part in parts)]).numpy()
