"""Sample paths against the network's own reading of them, and what a CPU does in panels against torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import stats  # noqa: E402

from forecasting import SeriesBatch  # noqa: E402
from forecasting.deepar import Facts, SeriesSet, Settings, inference  # noqa: E402
from forecasting.deepar.inference import sample_paths  # noqa: E402
from forecasting.deepar.likelihoods import Gaussian, StudentT  # noqa: E402
from forecasting.deepar.network import Network  # noqa: E402
from forecasting.deepar.noise import Noise, streams  # noqa: E402
from forecasting.deepar.polar_draws import draw_polar  # noqa: E402
from forecasting.deepar.windows import SCALED_LIMIT, Draw, Reader  # noqa: E402

HORIZON, LENGTH, CONTEXT = 9, 50, 12
SEEDS = torch.tensor([5, -3, 2**60, 8])


@dataclass(frozen=True)
class Case:
    arrays: list[np.ndarray]
    facts: Facts
    network: Network

    def reader(self, arrays: list[np.ndarray]) -> Reader:
        return Reader(SeriesSet.of(SeriesBatch.from_arrays(arrays, "2020-01-01", "D"), self.facts), self.facts)

    def draw(self, n: int) -> Draw:
        ends = torch.full((n,), LENGTH)
        return Draw(torch.arange(n), ends, torch.zeros_like(ends), None)

    def sample(self, n_samples: int, rows: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        arrays = self.arrays[rows]
        reader, draw = self.reader(arrays), self.draw(len(arrays))
        return sample_paths(self.network, reader, self.facts.lags, draw, HORIZON, n_samples, SEEDS[rows])


def case(
    likelihood: str = "student-T", cells: int = 10, layers: int = 2, lags: Any = None, weight: float = 0.4
) -> Case:
    """A network with random weights that are large enough for its gates to open and close."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(4)
    arrays = [rng.poisson(20 * (k + 1), LENGTH).astype(float) for k in range(4)]
    if likelihood == "beta":
        arrays = [values / 200 for values in arrays]
    arrays[1][[3, 44, 49]] = np.nan
    settings = Settings(
        context_length=CONTEXT, num_cells=cells, num_layers=layers, likelihood=likelihood, lags=lags, holdout_series=0
    )
    facts = Facts.learn(SeriesBatch.from_arrays(arrays, "2020-01-01", "D"), horizon=HORIZON, settings=settings)
    torch.manual_seed(6)
    network = Network(facts, settings)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, weight)
    return Case(arrays, facts, network)


@pytest.mark.parametrize(
    ("likelihood", "cells", "layers", "lags", "n_samples"),
    [
        ("student-T", 10, 2, None, 100),
        ("gaussian", 7, 3, [2, 3, 7], 64),
        ("student-T", 40, 1, [1, 5, 30], 131),
        ("gaussian", 5, 2, [20, 30], 70),  # no lag sees a sampled value
        ("negative-binomial", 10, 2, None, 100),
        ("poisson", 10, 2, None, 100),
        ("beta", 10, 2, None, 100),
        ("piecewise-linear", 10, 2, None, 100),
        ("student-T", 10, 2, None, 20),  # in torch
        ("gaussian", 7, 3, [2, 3, 7], 20),
        ("deterministic-L1", 10, 2, None, 100),
    ],
)
def test_a_path_is_drawn_from_what_the_network_says_of_it(
    likelihood: str, cells: int, layers: int, lags: list[int] | None, n_samples: int
) -> None:
    """The oracle: each path is appended to its history as if observed, read as in training, and drawn again."""
    own = case(likelihood, cells, layers, lags)
    paths, means = own.sample(n_samples)
    series, n_samples, _ = paths.shape
    longer = [np.concatenate([own.arrays[i], paths[i, s].numpy()]) for i in range(series) for s in range(n_samples)]
    window = own.reader(longer).window(own.draw(len(longer)), HORIZON)
    noise, law = Noise(streams(SEEDS, n_samples).flatten()), own.network.law
    with torch.no_grad():
        raw = own.network(window)[CONTEXT:]
        again = torch.stack([law.draw(raw[k], window.scale, noise) for k in range(HORIZON)], 1).view(paths.shape)
        mean = torch.stack([law.mean(raw[k], window.scale) for k in range(HORIZON)], 1).view(paths.shape).mean(1)
    torch.testing.assert_close(means, mean, rtol=1e-4, atol=1e-4 * float(window.scale.max()))
    off = (paths - again).abs() / (again.abs() + window.scale.view(series, n_samples, 1))
    if likelihood in {"negative-binomial", "poisson"}:  # a rounded rate moves a count by one now and then
        assert float((off > 0).float().mean()) < 0.002
    else:
        assert float(off.max()) < 1e-4
    if law.stochastic:
        assert (paths.std(1) > 0).all()


@pytest.mark.parametrize("weight", [0.1, 0.4, 3.0])
def test_panels_do_as_torch_does(monkeypatch: pytest.MonkeyPatch, weight: float) -> None:
    own = case(lags=[20, 30], weight=weight)  # without feedback, so that rounding does not add up
    paths, means = own.sample(100)
    monkeypatch.setattr(inference, "panels_do", lambda *_: False)
    expected, expected_means = own.sample(100)
    size = expected.abs() + expected.abs().mean((1, 2), keepdim=True)
    assert float(((paths - expected).abs() / size).max()) < 1e-5
    torch.testing.assert_close(means, expected_means, rtol=1e-5, atol=1e-5)


def test_neighbours_threads_and_places_in_a_panel_do_not_matter() -> None:
    own = case()
    paths, means = own.sample(100)
    for rows in (slice(1, 2), slice(2, 4)):
        alone, alone_means = own.sample(100, rows)
        torch.testing.assert_close(alone, paths[rows], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(alone_means, means[rows], rtol=1e-5, atol=1e-4)
    fewer, _ = own.sample(70)
    torch.testing.assert_close(fewer, paths[:, :70], rtol=1e-5, atol=1e-4)
    torch.set_num_threads(3)
    try:
        together, _ = own.sample(100)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(together, paths, rtol=1e-5, atol=1e-4)


def test_what_is_not_finite_stays_so() -> None:
    own = case()
    with torch.no_grad():
        own.network.layers[0].weight_hh_l0[0, 0] = torch.nan
    paths, means = own.sample(100)
    assert not bool(torch.isfinite(paths[:, :, 1:]).any())
    assert not bool(torch.isfinite(means[:, 1:]).any())


@pytest.mark.parametrize("law", [Gaussian(), StudentT()], ids=["gaussian", "student"])
def test_polar_draws(law: Gaussian | StudentT) -> None:
    """Against the same law in double precision, with parameters from end to end."""
    n = 20_000
    generator = torch.Generator().manual_seed(2)
    raw = 5.0 * torch.randn(law.size, n, generator=generator)
    raw[1, :2000] = torch.linspace(-90.0, 90.0, 2000)
    raw[-1, 1000:3000] = torch.linspace(-90.0, 500.0, 2000)
    scale = 10.0 ** torch.linspace(-9.0, 9.0, n)
    seeds = streams(torch.tensor(1), n)
    paths, scaled = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
    counter = Noise(seeds).skip()
    draw_polar(law.size == 3, raw.numpy(), scale.numpy(), seeds.numpy(), counter, SCALED_LIMIT, paths, scaled)
    exact = law.draw(raw.double().t(), scale.double(), Noise(seeds)).numpy()
    location, spread = (p.numpy() for p in law.parameters(raw.double().t(), scale.double())[-2:])
    np.testing.assert_array_less(np.abs(paths - exact), 1e-5 * (np.abs(exact - location) + np.abs(location) + spread))
    expected = (exact / scale.double().numpy()).clip(-SCALED_LIMIT, SCALED_LIMIT)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-4)
    assert (
        stats.kstest((exact - location)[3000:] / spread[3000:], (paths - location)[3000:] / spread[3000:]).pvalue
        > 0.99
    )
    raw[0, 7] = raw[1, 8] = torch.nan
    draw_polar(law.size == 3, raw.numpy(), scale.numpy(), seeds.numpy(), counter, SCALED_LIMIT, paths, scaled)
    assert np.isnan(paths[7:9]).all()
    assert np.isnan(scaled[7:9]).all()
    assert np.isfinite(paths[9:]).all()
