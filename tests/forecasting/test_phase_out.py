"""The decline before an end, learnt from items with a known one."""

from __future__ import annotations

import numpy as np
import pytest

from forecasting.phase_out import Curves, end_ratios, fading, shrunk_curve

NAN = float("nan")


def test_ratios_are_counted_back_from_the_end() -> None:
    values = np.array([8.0, 10.0, 12.0, 5.0, NAN, 2.0, 8.0, 10.0, 12.0, 1.0, 1.0])
    offsets = np.array([0, 6, 9, 11])
    start, end = np.array([10, 10, 10]), np.array([15, 14, 11])
    found = end_ratios(values, offsets, start, end, 3, 3, zero=False)
    assert found[0].tolist() == pytest.approx([0.2, NAN, 0.5, 1.0], nan_ok=True)
    # The second ended after its last row: nothing is known of its last two periods, and too little of its level.
    assert np.isnan(found[1]).all()
    assert np.isnan(found[2]).all()
    zero = end_ratios(values, offsets, start, np.array([15, 15, 11]), 3, 3, zero=True)
    assert zero[0].tolist() == pytest.approx([0.2, 0.0, 0.5, 1.0])
    assert zero[1].tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0])


def test_few_items_say_little_and_a_segment_leans_on_all() -> None:
    median, parent = np.array([0.2, 0.6, NAN, 1.0]), np.ones(3)
    count = np.array([10.0, 30.0, 0.0, 10.0])
    assert shrunk_curve(median, count, parent, 10.0).tolist() == pytest.approx([0.6, 0.7, 1.0])
    assert shrunk_curve(median, count, np.full(3, 0.5), 10.0).tolist() == pytest.approx([0.35, 0.575, 0.5])
    skewed = np.array([0.25, 0.5, 0.5, 0.5])  # the level is a mean, the medians of steady sales half of it
    assert shrunk_curve(skewed, np.full(4, 10.0), parent, 0.0).tolist() == pytest.approx([0.5, 1.0, 1.0])
    rare = np.array([0.0, 0.0, 0.0, 0.0])
    assert shrunk_curve(rare, np.full(4, 99.0), parent, 10.0) is parent


def test_a_forecast_fades_from_where_it_is() -> None:
    curves = Curves(("a",), np.array([[0.2, 0.4, 0.8], [0.5, 0.5, 0.5]]), np.ones((2, 3)))
    row = curves.rows_of(["a", "b", None, "a"])
    assert row.tolist() == [0, 1, 1, 0]
    cutoff, end = np.array([10, 10, 10, 10]), np.array([15, 15, 99, 12])
    found = fading(curves, row, cutoff, end, 5)
    assert found[0].tolist() == pytest.approx([1.0, 1.0, 0.8, 0.4, 0.2])
    assert found[1].tolist() == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.5])
    assert found[2].tolist() == [1.0] * 5
    # Two periods before its end the decline to 0.8 is in its level already; after its end nothing is said.
    assert found[3].tolist() == pytest.approx([0.5, 0.25, 1.0, 1.0, 1.0])
