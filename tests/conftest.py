"""What holds for our own tests and not for the suites."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent

EFFORT = int(os.environ.get("THROUGHPASS_EFFORT", "1"))
"""How many times as many inputs the tests that make up their own try: more of the same row, so that a failure comes again."""

settings.register_profile(
    "ours",
    max_examples=100 * EFFORT,
    derandomize=True,  # the same inputs everywhere: a test that fails fails for everybody
    deadline=None,  # a busy machine is no failure
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")


def pytest_configure() -> None:
    """Let signals end what they end: a shell in the background, and nohup, start us with some ignored, which children inherit.

    Options in the environment are for this pytest, not for those that tests start and read.
    """
    os.environ.pop("PYTEST_ADDOPTS", None)
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make every warning of a test an error. A user's qualification must not fail for what a library warns of."""
    for item in items:
        if TESTS in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("error"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how much of the corpus of real hosts was judged rightly, by kind."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, [])]
    lines = sorted(str(value) for report in reports for key, value in getattr(report, "user_properties", []) if key == "corpus")
    if lines:
        terminalreporter.section("real hosts: judged rightly / all")
        for line in lines:
            terminalreporter.write_line(line)
