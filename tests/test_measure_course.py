"""The course of a run: cliffs and stalls in the rates of its seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.course import find_cliff, find_stalls


@pytest.mark.parametrize(
    ("seconds", "cliff"),
    [
        pytest.param((40, 40, 10, 10, 10), 2, id="once"),
        pytest.param((40, 10, 10), 1, id="early"),
        pytest.param((40, 39, 20, 19, 5, 5, 5), 4, id="the-deepest-of-two"),
        pytest.param((40, 0.1, 41, 10, 10), 3, id="a-stall-is-no-cliff"),
        pytest.param((40, 10, 10, 40, 10, 10), 0, id="comes-back"),
        pytest.param((40, 40, 40, 10), 0, id="one-second-at-the-end"),
        pytest.param((40, 38, 36, 34, 32, 30), 0, id="a-slope"),
        pytest.param((10, 10, 40, 40), 0, id="upwards"),
        pytest.param((40, 40, 40, 0.1, 0.1), 0, id="stops"),
        pytest.param((), 0, id="nothing"),
        pytest.param((0, 0, 0, 0), 0, id="zeros"),
    ],
)
def test_cliff_is_a_fall_for_good(seconds: tuple[float, ...], cliff: int) -> None:
    """A cliff is named by its first slow second (0: there is none); slopes, stalls and falls that end are none."""
    assert (find_cliff(seconds) or 0) == cliff


def test_stall_is_a_second_with_hardly_anything() -> None:
    """Seconds with less than a tenth of the median are stalls, by their place."""
    assert find_stalls((10, 0, 10, 0.9, 1.1, 10, 10)) == (1, 3)
    assert find_stalls((100, 100, 0, 0, 0, 0, 0)) == (2, 3, 4, 5, 6), "a disk that stops"
    assert find_stalls((0, 0, 0)) == ()
    assert find_stalls(()) == ()


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_course_of_anything(seconds: list[float]) -> None:
    """Whatever the seconds were, a cliff lies inside them, and what is before it was faster."""
    cliff = find_cliff(seconds)

    assert cliff is None or 0 < cliff < len(seconds)
    assert all(0 <= each < len(seconds) for each in find_stalls(seconds))
