"""Ancestral sampling: the history is read once a series, its state is shared by all sample paths of the series."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forecasting.deepar.network import Network
from forecasting.deepar.noise import Noise, streams
from forecasting.deepar.panels import Sampled, panels_do, sample_in_panels
from forecasting.deepar.windows import Draw, Reader


@torch.inference_mode()
def sample_paths(
    network: Network, reader: Reader, lags: Sequence[int], draw: Draw, horizon: int, n_samples: int, seeds: Tensor
) -> tuple[Tensor, Tensor]:
    """Sample paths [B, S, H] and means [B, H] of the windows of a draw, in the unit of the data.

    seeds: int64 [B]; the noise of path s of a row depends on its seed and s alone. The mean is the average over the
    paths of each step's conditional mean, which varies less than the average of the draws.
    """
    law = network.law
    n_samples = n_samples if law.stochastic else 1
    window = reader.window(draw, horizon, ahead=True)
    before = len(window.target) - horizon
    _tell(window.inputs[before:], lags)
    inputs = network.inputs(window)
    states = []  # of each layer after step 0, up to which the paths are one: [B, 1, C]
    hidden = inputs[: before + 1]
    for lstm in network.layers:
        hidden, (h, c) = lstm(hidden)
        states.append((h[0].unsqueeze(1), c[0].unsqueeze(1)))
    noise = Noise(streams(seeds, n_samples))
    scale = window.scale.unsqueeze(1)
    found = Sampled.empty(horizon, len(seeds), n_samples, seeds.device)
    found.put(0, law, network.head(hidden[-1]).unsqueeze(1), scale, noise)
    if horizon > 1:
        sample = sample_in_panels if panels_do(network, n_samples) else _sample_onward
        sample(network, lags, states, inputs[before:], scale, noise, found)
    return found.paths[:, : noise.seeds.numel()].view(horizon, *noise.seeds.shape).permute(1, 2, 0), found.means.t()


def _sample_onward(
    network: Network,
    lags: Sequence[int],
    states: Sequence[tuple[Tensor, Tensor]],
    inputs: Tensor,
    scale: Tensor,
    noise: Noise,
    found: Sampled,
) -> None:
    """`sample_in_panels` for any device."""
    horizon, shape = len(inputs), noise.seeds.shape
    weights = [_weights(lstm) for lstm in network.layers]
    first_in, first_on, first_bias = weights[0]
    shared = torch.addmm(first_bias, inputs.flatten(0, 1), first_in).view(horizon, len(scale), -1)
    stacked = [torch.cat([into, onward]) for into, onward, _ in weights[1:]]
    reach = torch.tensor(lags, device=scale.device)
    h, c = [state for state, _ in states], [cell for _, cell in states]
    for k in range(1, horizon):
        sampled = bisect_right(lags, k)  # so many lags reach into the horizon: the first, for they ascend
        latest = found.scaled[k - reach[:sampled], : shape.numel()].view(sampled, *shape).permute(1, 2, 0)
        joined = torch.cat([h[0].expand(-1, shape[1], -1), latest], 2) if sampled else h[0]
        gates = joined @ torch.cat([first_on, first_in[:sampled]])
        h[0], c[0] = _cell(gates.add_(shared[k].unsqueeze(1)), c[0])
        for layer in range(1, len(weights)):
            below = h[layer - 1]
            joined = torch.cat([below, h[layer].expand(-1, below.shape[1], -1)], 2)
            gates = joined @ stacked[layer - 1]
            h[layer], c[layer] = _cell(gates.add_(weights[layer][2]), c[layer])
        found.put(k, network.law, network.head(h[-1]), scale, noise)


def quantiles_of(paths: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles [B, H, Q] of sample paths [B, S, H]: the k-th of S values stands for the level (k - 1/2) / S (Hazen),
    between them linear; sorted values cannot cross."""
    ordered = paths.transpose(1, 2)
    if ordered.is_cpu:  # NumPy's sort uses vectors and is 20 times as fast
        ordered = torch.from_numpy(np.sort(ordered.contiguous().numpy(), axis=2))
    else:
        ordered = ordered.sort(dim=2).values
    n = ordered.shape[2]
    place = torch.tensor(levels, dtype=torch.float64, device=paths.device) * n - 0.5
    place = place.clamp(0, n - 1)
    low = place.floor().long()
    share = (place - low).to(paths.dtype)
    found = torch.lerp(ordered[..., low], ordered[..., (low + 1).clamp(max=n - 1)], share)
    return found.cummax(dim=2).values  # rounding in lerp could cross by one unit in the last place


def _tell(inputs: Tensor, lags: Sequence[int]) -> None:
    """Make the flags beside the lags say that sampled values are known, as they are when their turn comes."""
    n = len(lags)
    for k in range(len(inputs)):
        first, share = inputs[k, :, n], inputs[k, :, n + 1]
        share += bisect_right(lags, k) / n
        if lags[0] != 1:
            first.copy_(share)
        elif k:
            first.fill_(1.0)


def _weights(lstm: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Weights from the layer below [I, 4 C] and from the step before [C, 4 C], and the bias [4 C].

    Those of the third gate are doubled, so that one sigmoid does for all: tanh(x) = 2 sigmoid(2 x) - 1.
    """
    factor = torch.ones(4, lstm.hidden_size, device=lstm.weight_ih_l0.device)
    factor[2] = 2.0
    factor = factor.flatten()
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0) * factor
    return lstm.weight_ih_l0.t() * factor, lstm.weight_hh_l0.t() * factor, bias


def _cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM layer: torch's order of the gates is input, forget, cell, output. `gates` is used up."""
    i, f, g, o = gates.sigmoid_().chunk(4, dim=-1)
    cell = torch.addcmul(g.mul_(2.0).sub_(1.0).mul_(i), f, cell)
    return torch.sigmoid(2.0 * cell).mul_(2.0).sub_(1.0).mul_(o), cell
