"""One process imitates W ranks: slices with their offset against the whole batch, value and gradient."""

import numpy as np
import pytest


def check_mean_over_ranks(value_and_grad, arrays, ranks=2):
    """`value_and_grad(own, gathered, offset)` -> (value, gradients of `own`, gradients of `gathered`).

    `arrays` is the whole batch, rows first. The mean over ranks of the values is that of one rank with all rows; the
    gradient of a row is what its own rank gives plus what every rank gives for its gathered copy.
    """
    rows = len(arrays[0]) // ranks
    value, own, gathered = value_and_grad(arrays, arrays, 0)
    expected = [one + other for one, other in zip(own, gathered)]
    found_value, found = 0.0, [np.zeros_like(array) for array in expected]
    for rank in range(ranks):
        part = slice(rank * rows, (rank + 1) * rows)
        rank_value, own, gathered = value_and_grad([array[part] for array in arrays], arrays, rank * rows)
        found_value += rank_value / ranks
        for total, one, other in zip(found, own, gathered):
            total[part] += one / ranks
            total += other / ranks
    assert found_value == pytest.approx(value, rel=1e-10)
    for total, wanted in zip(found, expected):
        np.testing.assert_allclose(total, wanted, rtol=1e-5, atol=1e-8)
