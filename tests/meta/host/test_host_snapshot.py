"""Snapshots, the sampler, memory and disk of this machine."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.neighbours import burner, detached

from fixtures.catalog.host import Competing
from fixtures.host import snapshot as snapshots
from fixtures.host.memory import disk_free_mib, memory_reading, pressure_some_pct
from fixtures.host.snapshot import Sampler, take_snapshot
from fixtures.records.conditions import Conditions

ASR = Competing(name="ASR", cmdline="asr-sampled", max_cpu_pct=50)
BURNER = burner("asr-sampled", seconds=120)


def wait_for(condition):
    """Until it is so; whatever else this machine does, not for ever."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def shares_of(pid, sampler):
    return [load.cpu_pct for snapshot in sampler.snapshots for load in snapshot.competing if load.pid == pid]


def test_snapshot_tells_memory_load_and_competition():
    with detached(*BURNER) as pid:
        taken = take_snapshot([ASR], window_s=2)
    assert 0 < taken.mem_available_mib < psutil.virtual_memory().total / (1 << 20)
    assert taken.load_1min >= 0
    assert taken.swap_used_mib >= 0
    (load,) = taken.competing
    assert (load.pid, load.service) == (pid, "ASR")
    assert load.cpu_pct > 5


def test_snapshot_tells_free_disk_where_it_is_asked(tmp_path):
    assert take_snapshot([]).disk_free_mib is None
    with Sampler([], interval_s=0.05, disk=tmp_path) as sampler:
        time.sleep(0.12)
    for snapshot in (take_snapshot([], disk=tmp_path), *sampler.snapshots):
        assert snapshot.disk_free_mib == pytest.approx(disk_free_mib(tmp_path), rel=0.05)


def test_snapshots_survive_json():
    with Sampler([], interval_s=0.05) as sampler:
        time.sleep(0.12)
    conditions = Conditions(before=take_snapshot([]), samples=sampler.snapshots)
    assert Conditions.model_validate_json(conditions.model_dump_json()) == conditions
    assert Conditions.model_validate(json.loads('{"before": null, "after": null}')) == Conditions()


def test_sampler_sees_load_that_comes_up_during_the_measurement():
    with Sampler([ASR], interval_s=0.4) as sampler:
        wait_for(lambda: sampler.snapshots)
        before = len(sampler.snapshots)
        with detached(*BURNER) as pid:
            wait_for(lambda: any(share > 5 for share in shares_of(pid, sampler)))
    assert all(snapshot.competing == () for snapshot in sampler.snapshots[:before])
    gaps = [later.at - earlier.at for earlier, later in zip(sampler.snapshots, sampler.snapshots[1:], strict=False)]
    assert all(gap.total_seconds() > 0 for gap in gaps)


def test_sampler_takes_a_last_sample_of_a_short_block_but_not_of_one_too_short(monkeypatch):
    with Sampler([], interval_s=60) as sampler:
        time.sleep(0.25)
    assert len(sampler.snapshots) == 1
    monkeypatch.setattr(snapshots, "_SHORTEST_WINDOW_S", 60)  # however long this machine takes for nothing
    with Sampler([], interval_s=60) as sampler:
        pass
    assert sampler.snapshots == ()


def test_sampler_ends_with_its_block_even_when_that_fails():
    sampler = Sampler([], interval_s=0.05)
    with pytest.raises(KeyError), sampler:
        raise KeyError
    count = len(sampler.snapshots)
    time.sleep(0.15)
    assert len(sampler.snapshots) == count


def test_fault_in_the_samplers_thread_is_not_swallowed():
    not_nvml_at_all = SimpleNamespace()
    with pytest.raises(AttributeError, match="nvmlInit"), Sampler([], interval_s=0.05, nvml=not_nvml_at_all):
        time.sleep(0.1)


def test_memory_reading_is_this_machines():
    reading = memory_reading()
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    assert reading.total_mib == pytest.approx(int(meminfo["MemTotal"].split()[0]) / 1024, abs=1)
    assert 0 < reading.available_mib < reading.total_mib
    assert 0 <= reading.swap_used_mib <= reading.swap_total_mib
    assert reading.pressure_pct is None or 0 <= reading.pressure_pct <= 100


def test_pressure_is_the_some_line():
    assert pressure_some_pct("some avg10=1.25 avg60=0.00 avg300=0.00 total=5\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=5\n") == 1.25
    assert pressure_some_pct("") is None


def test_disk_free_of_a_folder_that_is_not_there_yet_is_its_parents(tmp_path):
    here = disk_free_mib(tmp_path)
    assert here > 0
    assert disk_free_mib(tmp_path / "not" / "yet") == pytest.approx(here, rel=0.05)
