"""Writes the JSON Schemas of what others read and write: docs/*.schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.bench.config import json_schema as bench_schema
from harness.core.comparison import json_schema as comparison_schema
from harness.core.history import json_schema as history_schema
from harness.core.record import json_schema as record_schema
from harness.rules.survey import fleet_schema
from harness.rules.survey import json_schema as survey_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCS = Path(__file__).resolve().parents[1] / "docs"


def schemas() -> dict[str, dict[str, Any]]:
    """Return each schema by the name of its file."""
    made = {
        "record.schema.json": ("The record of a throughpass qualification", record_schema()),
        "comparison.schema.json": ("throughpass compare --json", comparison_schema()),
        "history.schema.json": ("throughpass history --json", history_schema()),
        "bench.schema.json": ("A throughpass bench file", bench_schema()),
        "survey.schema.json": ("throughpass survey --json, of one host", survey_schema()),
        "fleet.schema.json": ("throughpass survey --json, of several hosts", fleet_schema()),
    }
    return {name: {"$schema": DIALECT, "title": title, **schema} for name, (title, schema) in made.items()}


def spelled(schema: dict[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        (DOCS / name).write_text(spelled(schema), encoding="utf-8")
