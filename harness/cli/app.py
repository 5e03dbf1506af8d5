"""The command itself: what its verbs hang on, and what they share."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_BENCH = "virtual-vtd"

PLAIN: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
"""How every group of verbs looks."""

app = typer.Typer(help="Qualify a board for PCI passthrough of its USB controllers.", add_completion=False, **PLAIN)
bench_app = typer.Typer(help="Benches: list, build, hold, look inside.", **PLAIN)
app.add_typer(bench_app, name="bench")

ColdOption = Annotated[bool, typer.Option("--cold", help="boot a virtual board even where a snapshot could be restored")]
BenchArgument = Annotated[str, typer.Argument(metavar="BENCH", help="a shipped bench, or the path of a bench file")]


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer's callback)
    if wanted:
        from importlib.metadata import version

        typer.echo(f"throughpass {version('throughpass')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Qualify a board for PCI passthrough of its USB controllers."""
