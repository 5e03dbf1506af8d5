"""The experiment's wiring: which arms a bench file's profile has, and how long they may take."""

from __future__ import annotations

from fixtures.throughput import longest_s, profile_of
from harness.bench.config import BenchConfig, parse_bench
from harness.measure.design import PROFILES, Way

BENCH = """
schema = 1
name = "mine"
kind = "virtual"
[board]
[[board.device]]
id = "card"
driver = "nec-usb-xhci"
[[board.stick]]
id = "s1"
on = "card"
serial = "A"
[[board.stick]]
id = "s2"
on = "card"
serial = "B"
[controller]
id = "1033:0194"
"""
ARMS = """
[[throughput.arm]]
name = "one"
kind = "pci"
[[throughput.arm]]
name = "other"
kind = "pci"
stick = "s2"
[[throughput.arm]]
name = "third"
kind = "native"
stick = "B"
"""


def test_profile_has_its_own_arms_on_the_stick() -> None:
    """Without arms in the bench file the profile has its own, all on the stick that data flows from."""
    profile = profile_of(parse_bench(BENCH, "mine.toml"), "quick", "A")

    assert profile.ways == (Way("native", "native", "A"), Way("pci", "pci", "A"), Way("usb-host", "usb-host", "A"))


def test_profile_takes_the_arms_of_the_bench_file() -> None:
    """Arms of the bench file are the only ones; a stick is named by its id or serial, and is that of [storage] without a name."""
    profile = profile_of(parse_bench(BENCH + ARMS, "mine.toml"), "smoke", "A")

    assert profile.ways == (Way("one", "pci", "A"), Way("other", "pci", "B"), Way("third", "native", "B"))
    assert profile.blocks == PROFILES["smoke"].blocks


WRITE = '[storage]\nserial = "A"\nwrite = true\nwindow_mib = 8\n'


def test_profile_writes_where_it_may() -> None:
    """Standard writes the grid too where the bench file permits it, the others only the cells that it names; all read without."""
    permitted, plain = parse_bench(BENCH + WRITE, "mine.toml"), parse_bench(BENCH, "mine.toml")
    named = parse_bench(BENCH + WRITE + '[throughput]\ncells = ["SEQ1M Q8T1 read", "SEQ1M Q8T1 write"]\n', "mine.toml")

    def writing(config: BenchConfig, name: str) -> list[str]:
        return [cell.name for cell in profile_of(config, name, "A").cells if cell.writes]

    assert len(writing(permitted, "standard")) == 4
    assert writing(named, "quick") == writing(named, "standard") == ["SEQ1M Q8T1 write"]
    assert writing(permitted, "quick") == writing(plain, "standard") == []
    assert profile_of(permitted, "standard", "A").write_offset_mib == 8
    assert profile_of(plain, "standard", "A").write_offset_mib == 0


def test_experiment_may_take_longer_than_its_fio() -> None:
    """The deadline of standard holds all of its 20 blocks, fio's own time several times over."""
    standard = PROFILES["standard"]
    fio_s = standard.most_blocks * len(standard.ways) * len(standard.cells) * (standard.runtime_s + standard.ramp_s)

    assert longest_s(standard) > 2 * fio_s
