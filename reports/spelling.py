"""How values are spelled for people: hostile text made visible, durations, rates, instants."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

_ESCAPED = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
"""Categories that steer a terminal, reorder a line or break an encoder: controls, bidi marks, surrogates, separators.

Cn (unassigned) holds the noncharacters, which no XML may contain.
"""

_MINUTE_S = 60
_HOUR_S = 3600
_NEAR = (0.001, 1000.0)
"""Beyond these a ratio is no more than a direction."""


def visible(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with every unprintable character as an escape (``\x1b``, ``\u202e``), but those in ``keep``.

    The result is safe on a terminal and can be encoded; it is not escaped for HTML.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if char not in keep and unicodedata.category(char) in _ESCAPED else char for char in text)


def _escape(char: str) -> str:
    """Return one character as Python would escape it."""
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(char)
    code = ord(char)
    if short is not None:
        return short
    if code <= 0xFF:  # noqa: PLR2004 (what \x can say)
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 (what \u can say)


def spell_duration(duration_s: float) -> str:
    """Return a duration in the two units that matter: ``0.42 s``, ``12.3 s``, ``3 min 12 s``, ``1 h 04 min``."""
    if not math.isfinite(duration_s):
        return "unknown"
    if duration_s < 10:  # noqa: PLR2004 (below it a tenth is too coarse)
        return f"{duration_s:.2f} s"
    if duration_s < _MINUTE_S:
        return f"{duration_s:.1f} s"
    if duration_s < _HOUR_S:
        return f"{int(duration_s) // _MINUTE_S} min {int(duration_s) % _MINUTE_S:02d} s"
    return f"{int(duration_s) // _HOUR_S} h {int(duration_s) % _HOUR_S // _MINUTE_S:02d} min"


def spell_rate(rate_mib_s: float) -> str:
    """Return a rate in MiB/s without its unit, with three or four digits that mean something."""
    if not math.isfinite(rate_mib_s):
        return "unknown"
    if abs(rate_mib_s) >= 1e9:  # noqa: PLR2004 (no disk; but a record can say anything)
        return f"{rate_mib_s:.3g}"
    decimals = 0 if abs(rate_mib_s) >= 1000 else 1 if abs(rate_mib_s) >= 10 else 2  # noqa: PLR2004
    return f"{rate_mib_s:.{decimals}f}"


def spell_instant(text: str) -> str:
    """Return an ISO 8601 time as ``2026-03-01 14:05 UTC``; what is none is returned as it is."""
    instant = parse_instant(text)
    return text if instant is None else f"{instant:%Y-%m-%d %H:%M} UTC"


def parse_instant(text: str) -> datetime | None:
    """Return the instant that ISO 8601 text names, in UTC (assumed where no zone is given), or None."""
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):  # not a time; or one whose UTC lies outside the calendar
        return None


def spell_ratio(ratio: float | None) -> str:
    """Return ``1.04`` and the sign for times; empty where there is none."""
    if ratio is None:
        return ""
    if not _NEAR[0] <= ratio <= _NEAR[1]:
        return f"<{_NEAR[0]:g}×" if ratio < _NEAR[0] else f">{_NEAR[1]:g}×"
    return f"{ratio:#.3g}×".replace(".×", "×")


def spell_interval(low: float | None, high: float | None) -> str:
    """Return ``[1.02, 1.06]``; empty where there is no interval."""
    return "" if low is None or high is None else f"[{spell_ratio(low)[:-1]}, {spell_ratio(high)[:-1]}]"


def spell_latency(latency_us: float) -> str:
    """Return a latency in the unit that suits it, with three digits: ``82.0 µs``, ``1.25 ms``, ``701 ms``, ``2.00 s``."""
    if not (math.isfinite(latency_us) and abs(latency_us) < 1e12):  # noqa: PLR2004 (weeks; but a record can say anything)
        return "unknown"
    for factor, unit in ((1e6, "s"), (1e3, "ms")):
        if abs(latency_us) >= 0.9995 * factor:
            return f"{_three_digits(latency_us / factor)} {unit}"
    return f"{_three_digits(latency_us)} µs"


def spell_cost(cost_s: float) -> str:
    """Return CPU seconds per GiB without their unit, with three digits that mean something."""
    if not (math.isfinite(cost_s) and abs(cost_s) < 1e9):  # noqa: PLR2004 (as above)
        return "unknown"
    return f"{cost_s:.3f}" if abs(cost_s) < 0.1 else _three_digits(cost_s)  # noqa: PLR2004


def _three_digits(value: float) -> str:
    return f"{value:.{0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2}f}"  # noqa: PLR2004


def spell_count(count: int, noun: str) -> str:
    """Return ``1 block``, ``2 blocks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def spell_cycles(count: int) -> str:
    """Return how many round trips were asked for: ``one cycle``, ``2 cycles``."""
    return "one cycle" if count == 1 else f"{count} cycles"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with their columns below each other; the last may be of any length."""
    clean = [[visible(" ".join(cell.split())) for cell in row] for row in rows]
    widths = [max((len(row[at]) for row in clean), default=0) for at in range(max(map(len, clean), default=0))]
    for row in clean:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
