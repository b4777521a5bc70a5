"""Selection of the best model a series, against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluation.metrics import Layout, row_statistics
from forecasting.evaluation.selection import best_overall, select_best, selection_loss

NAN = np.nan


@settings(max_examples=300, deadline=None)
@given(data=st.data(), models=st.integers(1, 4), n=st.integers(1, 6))
def test_selection_equals_a_plain_loop(data, models, n):
    def draw(element, count):
        return data.draw(st.lists(element, min_size=count, max_size=count))

    loss = np.array(draw(st.sampled_from([NAN, 0.0, 1.0, 2.0, 2.5]), n * models)).reshape(n, models)
    fallbacks = np.array(draw(st.integers(0, 1), n * models)).reshape(n, models)
    costs = draw(st.sampled_from([1.0, 2.0]), models)
    got = select_best(loss, costs, fallbacks, overall=0)
    for i in range(n):
        ranking = sorted((loss[i, m], fallbacks[i, m], costs[m], m) for m in range(models) if not np.isnan(loss[i, m]))
        if not ranking:
            assert (got.chosen[i], got.runner_up[i], got.reason[i]) == (0, -1, "no_scores")
            assert np.isnan([got.score[i], got.margin[i], got.runner_up_score[i]]).all()
            continue
        assert got.chosen[i] == ranking[0][-1]
        assert got.score[i] == ranking[0][0]
        if len(ranking) == 1:
            assert (got.runner_up[i], got.reason[i]) == (-1, "only_candidate")
            continue
        best, second = ranking[:2]
        assert got.runner_up[i] == second[-1]
        assert got.margin[i] == pytest.approx(1 - best[0] / second[0] if second[0] > 0 else 0)
        same = next((k for k in range(3) if best[k] != second[k]), 3)
        assert got.reason[i] == ["best", "tie_no_fallback", "tie_cheaper", "tie_first"][same]


def test_losses_that_differ_by_rounding_are_a_tie():
    got = select_best(np.array([[1.0, 1.0 + 1e-12], [1.0 - 1e-12, 1.0]]), [5.0, 1.0])
    assert got.chosen.tolist() == [1, 1]
    assert got.reason.tolist() == ["tie_cheaper"] * 2
    assert (got.margin >= 0).all()


def test_a_series_without_scores_takes_the_model_that_is_best_overall():
    loss = np.array([[1.0, 3.0], [4.0, 1.0], [NAN, NAN], [0.1, NAN]])
    got = select_best(loss, [1.0, 9.0])
    assert got.chosen.tolist() == [0, 1, 1, 0]  # 4 against 5 where both have a score
    assert got.reason.tolist() == ["best", "best", "no_scores", "only_candidate"]
    assert select_best(loss, [1.0, 9.0], overall=0).chosen[2] == 0


def test_best_overall_compares_on_shared_series():
    assert best_overall(np.array([[1.0, 2.0, NAN], [1.0, 0.5, NAN], [NAN, 0.1, NAN]]), [1, 1, 1]) == 0
    assert best_overall(np.array([[1.0, NAN], [NAN, 9.0], [NAN, 9.0]]), [1, 1]) == 1  # never together: more scores
    assert best_overall(np.full((2, 2), NAN), [3, 1]) == 1
    assert best_overall(np.zeros((2, 2)), [1, 1]) == 0


def statistics(forecasts, actual, scale):
    """[S, M, C] of point forecasts [S, M, H] against actuals [S, H]."""
    shape = forecasts.shape
    happened = np.broadcast_to(actual[:, None], shape)
    return row_statistics(
        forecasts, forecasts[..., None], happened, np.broadcast_to(scale[:, None], shape[:2]), (0.5,)
    )


def test_losses_of_each_metric():
    actual = np.array([[2.0, 4.0, 0.0]])
    sums = statistics(np.array([[[1.0, 4.0, 2.0]]]), actual, np.array([2.0]))
    want = {"mean_wQL": 3.0, "WAPE": 3.0, "RMSE": np.sqrt(5 / 3), "MASE": 0.5, "MAPE": 0.25}
    assert {m: selection_loss(sums, (0.5,), m).item() for m in want} == pytest.approx(want)
    with pytest.raises(ValueError, match=r"metric 'wQL', expected one of mean_wQL, WAPE"):
        selection_loss(sums, (0.5,), "wQL")


def test_all_zero_windows_have_a_loss():
    sums = statistics(np.array([[[1.0, 1.0], [0.0, 0.0]]]), np.zeros((1, 2)), np.zeros(1))
    loss = selection_loss(sums, (0.5,))
    assert loss.tolist() == [[2.0, 0.0]]
    assert select_best(loss, [1, 2]).chosen.tolist() == [1]
    assert np.isnan(selection_loss(sums, (0.5,), "MAPE")).all()
    assert np.isnan(selection_loss(sums, (0.5,), "MASE")).all()


def test_a_model_that_left_points_without_a_forecast_has_no_score():
    actual = np.array([[1.0, 1.0], [1.0, NAN], [NAN, NAN]])
    forecasts = np.array([[[9.0, 9.0], [1.0, NAN]], [[9.0, 9.0], [1.0, NAN]], [[1.0, 1.0], [2.0, 2.0]]])
    loss = selection_loss(statistics(forecasts, actual, np.ones(3)), (0.5,))
    np.testing.assert_array_equal(loss, [[16.0, NAN], [8.0, 0.0], [NAN, NAN]])


def test_a_model_without_rows_has_no_score():
    sums = statistics(np.ones((1, 2, 3)), np.ones((1, 3)), np.ones(1))
    sums[0, 1] = NAN
    np.testing.assert_array_equal(selection_loss(sums, (0.5,)), [[0.0, NAN]])
    # One window fewer than the other model: fewer points, so not comparable.
    sums[0, 1] = sums[0, 0] * 0.5
    assert Layout.of((0.5,)).part(sums, "n_points").tolist() == [[3.0, 1.5]]
    np.testing.assert_array_equal(selection_loss(sums, (0.5,)), [[0.0, NAN]])


def test_shapes_that_disagree_are_errors():
    with pytest.raises(ValueError, match="2 costs"):
        select_best(np.zeros((3, 1)), [1, 2])
    with pytest.raises(ValueError, match="n_fallback"):
        select_best(np.zeros((3, 1)), [1], np.zeros((3, 2)))
