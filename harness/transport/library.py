"""The SSH library, without what we do not use of it: import ``paramiko`` from here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["paramiko"]


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let imports of a module that is not loaded yet fail; afterwards it can be imported as ever."""
    hide = module not in sys.modules
    if hide:
        sys.modules[module] = None  # type: ignore[assignment] # as the import system's reference says
    try:
        yield
    finally:
        if hide:
            del sys.modules[module]


# paramiko 4.0 can do without invoke, which runs `Match exec` of configurations that ssh reads for us, and takes 40 % of the time
# of its import.
with _hidden("invoke"):
    import paramiko
