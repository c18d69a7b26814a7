"""Energy counters: what they have counted between two readings, also when they start again at zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt2x.bench import energy
from gpt2x.bench.energy import Rapl, find_meter


def zone(folder: Path, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "energy_uj").write_text(f"{energy_uj}\n", encoding="ascii")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n", encoding="ascii")
    return path


def test_joules_are_counted_from_when_the_meter_was_made(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 400_000)
    meter = Rapl(tmp_path)
    assert meter.joules() == 0.0
    zone(tmp_path, "intel-rapl:0", 650_000)
    assert meter.joules() == pytest.approx(0.25)


def test_a_counter_that_starts_again_at_zero_goes_on(tmp_path: Path) -> None:
    """It counts up to its range and then from 0: 900,000 … 1,000,000, 0 … 200,000 are 300,001 microjoules."""
    zone(tmp_path, "intel-rapl:0", 900_000)
    meter = Rapl(tmp_path)
    for now_uj, joules in ((200_000, 0.300001), (300_000, 0.400001), (100_000, 1.200002)):
        zone(tmp_path, "intel-rapl:0", now_uj)
        assert meter.joules() == pytest.approx(joules, abs=1e-9)


def test_packages_are_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        zone(tmp_path, name, 0)
    meter = Rapl(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        zone(tmp_path, name, 500_000)
    assert meter.joules() == pytest.approx(1.0)


def test_without_a_counter_there_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="no intel-rapl zones"):
        Rapl(tmp_path)
    monkeypatch.setattr(energy.Rapl.__init__, "__defaults__", (tmp_path,))
    assert find_meter("cpu") is None
    (zone(tmp_path, "intel-rapl:0", 0) / "energy_uj").write_text("what?", encoding="ascii")
    assert find_meter("cpu") is None


def test_a_gpu_whose_driver_is_not_there_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(energy.ctypes, "CDLL", missing)
    assert find_meter("cuda", "GPU-0") is None
