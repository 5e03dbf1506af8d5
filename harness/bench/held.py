"""A virtual board that is held for others: the bench file by which they reach it as a host of kind ssh."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from harness.bench.config import BenchConfig, HostSection
from harness.core.errors import UsageError
from harness.machine.running import Access

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NAME_LIMIT = 63 - len("-ssh")


def require_free(path: Path) -> None:
    """Raise UsageError unless the bench file and the key beside it can be made.

    They are removed in the end, so none may be there now.
    """
    for wanted in (path, key_path(path)):
        if wanted.exists() or wanted.is_symlink():
            raise UsageError(f"{wanted} is there already and would be removed in the end: remove it, or give another name")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} into")


def key_path(path: Path) -> Path:
    """Return where the private key for a bench file lies."""
    return path.with_name(f"{path.name}.key")


def held_config(config: BenchConfig, access: Access, key: Path) -> BenchConfig:
    """Return the bench by which others reach a board: same controller, same stick, over SSH."""
    host = HostSection(address="127.0.0.1", port=access.port, identity=key.name, host_key=access.host_key)
    name = f"{config.name[:_NAME_LIMIT]}-ssh"
    return msgspec.structs.replace(config, name=name, kind="ssh", board=None, host=host)


@contextmanager
def held_bench_file(config: BenchConfig, access: Access, path: Path) -> Iterator[Path]:
    """Write the bench file and its key for as long as the context lasts; whoever waits for the file finds it whole."""
    key = key_path(path)
    text = f"# {config.name}, held by throughpass bench up (process {os.getpid()}); removed when that ends\n"
    text += dump_toml(msgspec.to_builtins(held_config(config, access, key)))
    with _new_file(key, access.client_key.private), _new_file(path, text):
        yield path


@contextmanager
def _new_file(path: Path, content: str) -> Iterator[None]:
    """Hold a file that only this user can read. It appears whole, and never in place of what somebody else has put there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        path.hardlink_to(draft)
    except FileExistsError as error:
        raise UsageError(f"{path} has appeared meanwhile: give another name") from error
    finally:
        draft.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def dump_toml(document: Mapping[str, Any], table: str = "") -> str:
    """Return a document of strings, numbers, lists and tables as TOML; what is None is left out."""
    plain = {key: value for key, value in document.items() if value is not None and not isinstance(value, Mapping)}
    lines = [f"[{table}]"] if table else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    inner = [
        dump_toml(value, f"{table}.{_key(key)}".lstrip(".")) for key, value in document.items() if isinstance(value, Mapping)
    ]
    return "\n".join([*lines, "", *inner])


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    """Return a value in TOML's spelling: it is JSON's, but for tables, and for DEL, which TOML wants escaped."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(each)}' for key, each in value.items() if each is not None)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
