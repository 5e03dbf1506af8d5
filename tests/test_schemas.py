"""The published JSON Schemas."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "write_schemas.py"
_SPEC = importlib.util.spec_from_file_location("write_schemas", TOOL)
assert _SPEC is not None
assert _SPEC.loader is not None
write_schemas = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(write_schemas)


@pytest.mark.parametrize("name", sorted(write_schemas.schemas()))
def test_schema_is_current(name: str) -> None:
    """The schema in docs/ is the one of the code: python tools/write_schemas.py writes it."""
    published = (write_schemas.DOCS / name).read_text(encoding="utf-8")

    assert published == write_schemas.spelled(write_schemas.schemas()[name])
