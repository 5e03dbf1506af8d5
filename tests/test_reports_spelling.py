"""Spelling: hostile text becomes visible, figures become readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.spelling import spell_duration, spell_instant, spell_rate, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("日本語 µ ×", "日本語 µ ×"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\u202eevil", r"\u202eevil"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
    ],
)
def test_visible_shows_what_cannot_be_seen(text: str, shown: str) -> None:
    """Controls, bidi marks and surrogates become escapes; what can be read stays."""
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_visible_text_is_safe_anywhere(text: str) -> None:
    """Whatever comes in, what goes out can be encoded, holds no control character, and stays as it is the second time."""
    shown = visible(text)

    shown.encode()
    assert not [char for char in shown if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0]
    assert visible(shown) == shown


def test_visible_keeps_what_it_is_told_to() -> None:
    """Line breaks and tabs of evidence may stay; nothing else does."""
    assert visible("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [
        (0.0, "0.00 s"),
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
        (192.0, "3 min 12 s"),
        (3840.0, "1 h 04 min"),
        (float("nan"), "unknown"),
    ],
)
def test_duration_is_spelled_in_the_units_that_matter(duration_s: float, shown: str) -> None:
    """A duration has as many digits as a person wants."""
    assert spell_duration(duration_s) == shown


@pytest.mark.parametrize(
    ("rate_mib_s", "shown"),
    [(0.0, "0.00"), (4.126, "4.13"), (41.26, "41.3"), (1234.5, "1234"), (1e300, "1e+300"), (float("inf"), "unknown")],
)
def test_rate_has_three_or_four_digits(rate_mib_s: float, shown: str) -> None:
    """A rate is spelled with the digits that mean something."""
    assert spell_rate(rate_mib_s) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-03-01T14:05:12Z", "2026-03-01 14:05 UTC"),
        ("2026-03-01T14:05:12+09:00", "2026-03-01 05:05 UTC"),
        ("0001-01-01T00:00:00+09:00", "0001-01-01T00:00:00+09:00"),
        ("yesterday", "yesterday"),
    ],
)
def test_instant_is_spelled_in_utc(text: str, shown: str) -> None:
    """An ISO time is shown in UTC to the minute; anything else as it is."""
    assert spell_instant(text) == shown
