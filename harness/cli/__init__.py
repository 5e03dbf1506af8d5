"""throughpass, the command: one module a group of verbs. It imports all, nobody imports it."""

from __future__ import annotations

import sys

from harness.cli import benches, custody, qualify, records, rules, storage, survey
from harness.cli.app import app
from harness.cli.terminal import error_status, tell_error
from harness.core.errors import ThroughpassError

__all__ = ["app", "benches", "custody", "main", "qualify", "records", "rules", "storage", "survey"]


def main() -> None:
    """Run the command line; every error that is expected becomes a sentence and an exit status."""
    try:
        app()
    except ThroughpassError as error:
        tell_error(error)
        sys.exit(error_status(error))
