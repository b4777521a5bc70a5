"""Seeds and the random stream: fixed vectors, distributions, independence of the rest of the batch."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from forecasting.seeds import key_hashes, next_normal, next_uniform, row_seeds, series_key

MASK = (1 << 64) - 1


def mixed(z: int) -> int:
    """SplitMix64's output function in plain integers (Steele, Lea and Flood 2014, figure 16)."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def test_the_stream_is_splitmix64() -> None:
    """The published outputs for the seed 1234567."""
    state = np.array([1234567], dtype=np.uint64)
    drawn = [next_uniform(state) for _ in range(5)]
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
                 16408922859458223821]  # fmt: skip
    assert drawn == [((x >> 11) + 0.5) / 2.0**53 for x in published]


def test_row_seeds_in_plain_integers() -> None:
    salt = int.from_bytes(hashlib.blake2b(b"7/ets", digest_size=8).digest(), "little")
    keys = ["a", "b", series_key("item", "store"), "ä"]
    hashes = [int.from_bytes(hashlib.blake2b(k.encode(), digest_size=8).digest(), "little") for k in keys]
    assert key_hashes(keys).tolist() == hashes
    expected = [mixed(((h ^ salt) + 0x9E3779B97F4A7C15) & MASK) for h in hashes]
    assert row_seeds(key_hashes(keys), 7, "ets").tolist() == expected


def test_a_seed_depends_on_run_key_and_model_only() -> None:
    hashes = key_hashes([str(i) for i in range(500)])
    seeds = row_seeds(hashes, 1, "ets")
    assert len(np.unique(seeds)) == 500
    np.testing.assert_array_equal(row_seeds(hashes[::-1], 1, "ets"), seeds[::-1])
    np.testing.assert_array_equal(row_seeds(hashes[100:101], 1, "ets"), seeds[100:101])
    assert not (row_seeds(hashes, 2, "ets") == seeds).any()
    assert not (row_seeds(hashes, 1, "npts") == seeds).any()
    assert len(key_hashes([])) == len(row_seeds(key_hashes([]), 1, "ets")) == 0


def test_keys_of_several_parts_do_not_run_together() -> None:
    assert series_key("ab", "c") != series_key("a", "bc")
    assert series_key("a") == "a"


@pytest.mark.parametrize(("draw", "law"), [(next_uniform, stats.uniform()), (next_normal, stats.norm())])
def test_draws_follow_their_law(draw: object, law: object) -> None:
    state = np.array([42], dtype=np.uint64)
    drawn = np.array([draw(state) for _ in range(20_000)])  # type: ignore[operator]
    assert stats.kstest(drawn, law.cdf).pvalue > 1e-3  # type: ignore[attr-defined]
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
    again = np.array([42], dtype=np.uint64)
    assert [draw(again) for _ in range(10)] == drawn[:10].tolist()  # type: ignore[operator]
