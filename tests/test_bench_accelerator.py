"""KVM's answer: asked once, kept whole, and asked again where what was kept is none."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness.bench import accelerator
from harness.bench.accelerator import KvmAnswer, probe_kvm
from harness.bench.images import Image
from harness.core.errors import BenchError

IMAGE = Image("debian13", Path("/images/debian13"))
ANSWER = KvmAnswer(usable=True, reason="it boots")


@pytest.fixture
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Image]:
    """Return the probes that were booted, on a machine whose KVM works."""
    booted: list[Image] = []

    def boot(image: Image) -> KvmAnswer:
        booted.append(image)
        return ANSWER

    monkeypatch.setenv("THROUGHPASS_CACHE", str(tmp_path))
    monkeypatch.setattr(accelerator, "_cannot_open", lambda: "")
    monkeypatch.setattr(accelerator, "situation", lambda: "here")
    monkeypatch.setattr(accelerator, "_boot_probe", boot)
    return booted


def test_kvm_is_probed_once(boots: list[Image], tmp_path: Path) -> None:
    """A kept answer serves, unless a fresh one is asked for; nothing but the answer is left in the cache."""
    assert probe_kvm(IMAGE) == probe_kvm(IMAGE) == ANSWER
    assert len(boots) == 1
    probe_kvm(IMAGE, fresh=True)
    assert len(boots) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kvm-here.json"]


@pytest.mark.parametrize("kept", [b"", b'{"usable": tr', b'{"usable": "yes"}', b"[]", b"\xff"])
def test_kvm_broken_answer_is_none(boots: list[Image], tmp_path: Path, kept: bytes) -> None:
    """Half an answer, or something else, is asked for anew and replaced."""
    (tmp_path / "kvm-here.json").write_bytes(kept)

    assert probe_kvm(IMAGE) == ANSWER
    assert probe_kvm(IMAGE) == ANSWER
    assert len(boots) == 1


def test_kvm_answer_on_a_full_disk(boots: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is a sentence with the cache's path, and leaves no half answer."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)

    with pytest.raises(BenchError, match=rf"the disk under {tmp_path} is full: .*THROUGHPASS_CACHE"):
        probe_kvm(IMAGE)

    assert len(boots) == 1
    assert list(tmp_path.iterdir()) == []
