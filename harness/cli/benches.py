"""Benches: what this machine lacks for them, and the verbs that list, build, hold and enter them."""
# ruff: noqa: PLC0415 (imports of weight stand within the verbs: a listing must not wait for what only a boot needs)

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from harness.bench.config import BOOT_LIMIT_S, load_bench, shipped_benches
from harness.cli.app import BenchArgument, ColdOption, app, bench_app
from harness.cli.terminal import FAILED, interruptible, tell
from harness.core.deadline import Deadline
from harness.core.errors import BenchError, BoardError, HostLostError, UsageError
from reports.spelling import visible


@app.command()
def doctor() -> None:
    """Say what this machine lacks for the virtual bench, KVM tried by a real boot. Exit status 1: something needed is missing."""
    from harness.bench.doctor import examine

    good = True
    with interruptible():
        for answer in examine(tell):
            mark = "ok     " if answer.good else "MISSING" if answer.needed else "note   "
            typer.echo(f"{mark}  {answer.subject:<18}  {visible(answer.text, keep=chr(10))}")
            good &= answer.good or not answer.needed
    raise typer.Exit(0 if good else FAILED)


@bench_app.command("list")
def list_benches() -> None:
    """List the shipped benches."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "kind", "image", "IOMMU", "what it is", box=None, header_style="bold", pad_edge=False)
    for path in shipped_benches():
        config = load_bench(str(path))
        board = config.board
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        description = visible(first.removeprefix("#").strip()) if first.startswith("#") else ""
        row = (config.name, config.kind, board.image if board else "", board.iommu if board else "", description)
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@bench_app.command("build")
def build_images(
    images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE]...", help="debian13, debian12")] = None,
) -> None:
    """Build the images of virtual boards and guests, unless they are there."""
    from harness.bench.images import recipe_names, require_image

    wanted = images or ["debian13"]
    for name in wanted:
        if name not in recipe_names():
            raise UsageError(f"no image is called {name!r}: there are {', '.join(recipe_names())}")
    with interruptible():
        for name in wanted:
            typer.echo(str(require_image(name, tell).folder))


@bench_app.command("clean")
def clean_cache() -> None:
    """Empty the cache: images, snapshots of boards, sticks, transcripts. What is wanted again is made again."""
    from harness.bench.cache import cache_folder
    from harness.bench.upkeep import describe_cache, empty_cache

    tell(f"cache: {describe_cache()}")
    with interruptible():
        typer.echo(f"removed {empty_cache() >> 20} MiB from {cache_folder()}")


@bench_app.command("up")
def hold_board(
    bench: BenchArgument,
    write: Annotated[Path, typer.Option("--write", metavar="FILE.toml", help="the bench file to write, of kind ssh")],
    *,
    cold: ColdOption = False,
) -> None:
    """Boot a virtual board and hold it until a signal comes. The written file reaches it as a host of kind ssh."""
    from harness.bench.held import held_bench_file, require_free
    from harness.bench.virtual import VirtualBench

    config = load_bench(bench)
    if config.kind != "virtual":
        raise UsageError(f"the bench {config.name} is of kind {config.kind}: only a virtual board can be brought up")
    require_free(write)
    board = VirtualBench(config, cold=cold)
    limit = Deadline.after(BOOT_LIMIT_S, f"booting {config.name}")
    with interruptible(), _transcripts(config.name) as logs, board.open(logs, limit, tell):
        for stick in board.loose_sticks():
            board.plug(stick)
        board.let_reboot()
        with held_bench_file(config, board.machine.access, write):
            tell(f"the board {config.name} is up, and {write} leads to it; Ctrl-C or SIGTERM takes it down")
            with suppress(KeyboardInterrupt):
                board.machine.console.watch()  # a board that may reboot does so after a panic too: QEMU would run on
                why = board.machine.explain_loss(BenchError("QEMU was ended"))
                raise BenchError(f"the board {config.name} is gone: {why}", evidence=why.evidence)
        tell(f"taking the board {config.name} down")


@bench_app.command("shell")
def shell_on_board(
    bench: BenchArgument,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- CMD...]", help="a command instead of a shell")] = None,
    *,
    cold: ColdOption = False,
) -> None:
    """Open a shell on a board (a virtual one is booted for it), or run one command there and end with its exit status."""
    from harness.bench.make import make_bench
    from harness.bench.virtual import VirtualBench
    from harness.transport.ssh import SshTransport
    from harness.transport.terminal import run_joined, run_shell

    config = load_bench(bench)
    made = make_bench(config, cold=cold)
    limit = Deadline.after(BOOT_LIMIT_S, f"opening {config.name}")
    with interruptible(), _transcripts(config.name) as logs, made.open(logs, limit, tell) as host:
        if not isinstance(host.transport, SshTransport):
            raise UsageError(f"the bench {config.name} is this machine: a shell is here already")
        try:
            status = run_joined(host.transport, shlex.join(command)) if command else run_shell(host.transport)
        except HostLostError as error:
            raise (made.machine.explain_loss(error) if isinstance(made, VirtualBench) else error) from None
    raise typer.Exit(status)


@contextmanager
def _transcripts(name: str) -> Iterator[Path]:
    """Hold a folder of the cache for the transcripts of a board that belongs to no run; the next one overwrites them."""
    from harness.bench.cache import cache_folder

    folder = cache_folder() / "logs" / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except (BoardError, BenchError) as error:
        error.evidence += f"\nthe transcripts lie in {folder}" if any(folder.iterdir()) else ""
        raise
