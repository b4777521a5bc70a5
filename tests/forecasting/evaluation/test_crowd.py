"""Scores shrunk to the crowd, against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.evaluation.crowd import (
    SEGMENT_SERIES,
    WORST,
    Crowd,
    best_in_segment,
    crowd_rows,
    crowd_width,
    relative_loss,
    shrunken,
)

NAN = math.nan
LOSSES = st.lists(
    st.lists(st.sampled_from([NAN, 0.0, 0.5, 1.0, 2.0, 1e9]), min_size=3, max_size=3), min_size=1, max_size=6
)


@given(LOSSES)
def test_relative_losses_are_logs_of_ratios_to_the_best(rows):
    got = relative_loss(np.array(rows))
    for line, row in zip(got, rows, strict=True):
        known = [x for x in row if not math.isnan(x)]
        for value, loss in zip(line, row, strict=True):
            if math.isnan(loss):
                assert math.isnan(value)
            elif loss == min(known):
                assert value == 0.0
            else:
                want = WORST if min(known) == 0 else min(math.log(loss / min(known)), WORST)
                assert value == pytest.approx(want)


@given(LOSSES)
def test_a_segment_is_the_mean_of_its_series_and_of_all(rows):
    loss = np.array(rows)
    ran = np.ones_like(loss, dtype=bool)
    half = len(loss) // 2
    each = crowd_rows(loss, ran)
    assert each.shape == (len(loss), crowd_width(3))
    crowd = Crowd.of(np.array([each[:half].sum(axis=0), each[half:].sum(axis=0)]))
    relative = relative_loss(loss)
    for m in range(3):
        everyone = [x for x in relative[:, m] if not math.isnan(x)]
        for g, part in enumerate((relative[:half, m], relative[half:, m])):
            mine = [x for x in part if not math.isnan(x)]
            if not mine:
                assert math.isnan(crowd.scores[g, m])
                continue
            overall = sum(everyone) / len(everyone)
            want = (sum(mine) + SEGMENT_SERIES * overall) / (len(mine) + SEGMENT_SERIES)
            assert crowd.scores[g, m] == pytest.approx(want)


def test_the_more_windows_the_less_the_crowd():
    own, crowd = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    weights = [shrunken(own, [n], crowd, 4.0)[0] for n in (1, 4, 100)]
    np.testing.assert_allclose([w[0] for w in weights], [0.8, 0.5, 4 / 104])
    np.testing.assert_allclose([w[1] for w in weights], [0.2, 0.5, 100 / 104])
    np.testing.assert_array_equal(shrunken(own, [3], crowd, 0.0), own)


def test_a_series_without_scores_takes_the_crowd_and_a_model_that_failed_there_is_out():
    crowd = np.array([[0.3, 0.1], [0.3, 0.1], [0.3, NAN]])
    got = shrunken(np.array([[NAN, NAN], [0.2, NAN], [NAN, NAN]]), [0, 2, 0], crowd, 4.0)
    np.testing.assert_allclose(got[0], [0.3, 0.1])
    assert math.isnan(got[1, 1]), "others have a score where this model has none"
    assert math.isnan(got[2, 1]), "no candidate of the segment"


def test_the_best_of_a_segment_by_summed_losses_where_all_are_scored():
    loss = np.array([[1.0, 3.0], [4.0, 1.0], [0.1, NAN]])
    crowd = Crowd.of(crowd_rows(loss, np.ones((3, 2), dtype=bool)).sum(axis=0)[None])
    np.testing.assert_allclose(crowd.losses, [[5.0, 4.0]])
    assert best_in_segment(crowd, [1.0, 9.0]).tolist() == [1]
    same = Crowd(np.zeros((1, 3)), np.array([[2.0, 2.0, NAN]]))
    assert best_in_segment(same, [9.0, 1.0, 0.0]).tolist() == [1], "ties go to the cheaper"
    assert best_in_segment(Crowd(np.full((1, 1), NAN), np.full((1, 1), NAN)), [1.0]).tolist() == [-1]
