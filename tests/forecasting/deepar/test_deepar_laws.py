"""Likelihoods and draws against torch.distributions, scipy and numerical integration."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import stats  # noqa: E402
from torch import distributions  # noqa: E402

from forecasting.deepar import draws, likelihoods  # noqa: E402
from forecasting.deepar.noise import Noise, mixed, streams  # noqa: E402

SCALES = [1e-9, 0.5, 1.0, 37.0, 1e9]
N_DRAWS = 40_000


def raw_of(size: int, n: int = 200, seed: int = 3) -> torch.Tensor:
    return 1.5 * torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wide(scale: float) -> torch.Tensor:
    return torch.tensor(scale, dtype=torch.float64)


def noise(n: int = N_DRAWS, seed: int = 1) -> Noise:
    return Noise(streams(torch.tensor(seed), n))


@pytest.mark.parametrize("scale", SCALES)
def test_gaussian(scale: float) -> None:
    law, raw = likelihoods.Gaussian(), raw_of(2)
    location, spread = law.parameters(raw, wide(scale))
    y = location + spread * torch.linspace(-4, 4, 200)
    expected = distributions.Normal(location, spread).log_prob(y)
    torch.testing.assert_close(law.log_prob(raw, y, wide(scale)), expected)


@pytest.mark.parametrize("scale", SCALES)
def test_student(scale: float) -> None:
    law, raw = likelihoods.StudentT(), raw_of(3)
    df, location, spread = law.parameters(raw, wide(scale))
    y = location + spread * torch.linspace(-40, 40, 200)
    expected = distributions.StudentT(df, location, spread).log_prob(y)
    torch.testing.assert_close(law.log_prob(raw, y, wide(scale)), expected)


@pytest.mark.parametrize("scale", [0.02, 1.0, 40.0, 1e6])
def test_negative_binomial(scale: float) -> None:
    law, raw = likelihoods.NegativeBinomial(), raw_of(2)
    mean, shape = law.parameters(raw, wide(scale))
    y = torch.floor(mean * torch.linspace(0, 5, 200))
    expected = distributions.NegativeBinomial(shape, probs=mean / (mean + shape)).log_prob(y)
    found = law.log_prob(raw.float(), y.float(), wide(scale))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_poisson() -> None:
    law, raw = likelihoods.Poisson(), raw_of(1)
    rate = law.parameters(raw, wide(25.0))
    y = torch.floor(rate * torch.linspace(0, 4, 200))
    torch.testing.assert_close(law.log_prob(raw, y, wide(25.0)), distributions.Poisson(rate).log_prob(y))


def test_beta() -> None:
    law, raw = likelihoods.Beta(), raw_of(2)
    a, b = law.parameters(raw, wide(0.3))
    y = torch.linspace(0.001, 0.999, 200, dtype=torch.float64)
    torch.testing.assert_close(law.log_prob(raw, y, wide(0.3)), distributions.Beta(a, b).log_prob(y))
    assert torch.isfinite(law.loss(raw, torch.tensor([0.0, 1.0]).repeat(100), wide(0.3))).all()


def test_crps_of_the_piecewise_linear_law_is_its_integral() -> None:
    law = likelihoods.PiecewiseLinear(7)
    raw = raw_of(law.size, 50)
    scale = torch.tensor(2.5, dtype=torch.float64)
    y = torch.linspace(-6, 12, 50, dtype=torch.float64)  # below, inside and above the support
    n = 20_000
    level = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    quantile = law.quantile(raw[:, None].expand(-1, n, -1), level.expand(50, -1))
    z = (y / scale)[:, None]
    expected = (2.0 * (level - (z < quantile).double()) * (z - quantile)).mean(1)
    torch.testing.assert_close(law.loss(raw, y, scale), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(law.mean(raw, scale), quantile.mean(1) * scale, rtol=1e-5, atol=1e-6)


def test_the_slope_of_the_crps_is_that_of_its_integral() -> None:
    law = likelihoods.PiecewiseLinear(4)
    raw = raw_of(law.size, 20).requires_grad_()
    y = torch.linspace(-3, 5, 20, dtype=torch.float64)
    scale = torch.tensor(1.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda r: law.loss(r, y, scale), (raw,), eps=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("law", "oracle"),
    [
        (likelihoods.Gaussian(), lambda p: stats.norm(*p)),
        (likelihoods.StudentT(), lambda p: stats.t(*p)),
        (likelihoods.Beta(), lambda p: stats.beta(*p)),
    ],
    ids=["gaussian", "student", "beta"],
)
def test_draws_follow_the_law(law: likelihoods.DensityLaw, oracle: object) -> None:
    for k, raw in enumerate(raw_of(law.size, 4).float()):
        scale = torch.tensor(0.6)
        drawn = law.draw(raw, scale, noise(seed=k)).double().numpy()
        parameters = [float(p) for p in law.parameters(raw, scale)]
        assert stats.kstest(drawn, oracle(parameters).cdf).pvalue > 1e-4


@pytest.mark.parametrize("rate", [1e-12, 0.03, 1.0, 9.5, 10.5, 60.0, 4_000.0])
def test_poisson_draws_are_quantiles_of_the_law(rate: float) -> None:
    u = noise().pair(torch.float64)[0].numpy()
    drawn = draws.poisson(torch.tensor(rate, dtype=torch.float64), noise()).numpy()
    np.testing.assert_array_equal(drawn, stats.poisson(rate).ppf(u))


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 3.0, 200.0])
def test_gamma_draws(shape: float) -> None:
    drawn = draws.gamma(torch.tensor(shape, dtype=torch.float64), noise()).numpy()
    assert stats.kstest(drawn, stats.gamma(shape).cdf).pvalue > 1e-4


@pytest.mark.parametrize("scale", [0.1, 3.0, 5_000.0])
def test_negative_binomial_draws(scale: float) -> None:
    law, raw = likelihoods.NegativeBinomial(), torch.tensor([0.4, -0.5])
    mean, shape = (float(p) for p in law.parameters(raw, wide(scale)))
    drawn = law.draw(raw, wide(scale), noise()).double().numpy()
    oracle = stats.nbinom(shape, shape / (shape + mean))
    for level in (0.1, 0.5, 0.9, 0.99):
        k = oracle.ppf(level)
        assert (drawn <= k).mean() == pytest.approx(oracle.cdf(k), abs=0.01)
    assert drawn.mean() == pytest.approx(mean, rel=0.05)


def test_streams_are_uniform_and_do_not_repeat() -> None:
    seeds = streams(torch.arange(50), 200)
    assert len(torch.unique(seeds)) == seeds.numel()
    source = Noise(seeds)
    first, second = source.pair(torch.float64), source.pair(torch.float64)
    flat = [part.flatten().numpy() for part in (*first, *second)]
    for part in flat:
        assert stats.kstest(part, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.05


def test_the_mixer_is_split_mix_64() -> None:
    """The first outputs for seed 1234567, as published with the reference implementation."""
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + (k + 1) * golden) % 2**64 for k in range(3)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(x) % 2**64 for x in mixed(signed)] == expected
