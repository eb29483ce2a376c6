"""The steps of a rehearsal: what is done is not done again, a call ends in time, and a wrong deployment must be caught by its gate."""

import json
import shutil
import signal
import sys
import tarfile
import time
from types import SimpleNamespace

import psutil
import pytest

import rehearsal.__main__ as steps
from fixtures.catalog.load import load_host
from fixtures.engine.process import wait_until
from fixtures.host.processes import is_alive
from fixtures.models.twins import full_bytes
from fixtures.records.blocked import Blocked
from llama_build.pinned import load_pin
from rehearsal import red
from rehearsal.slices import Slice, TimeUp


@pytest.fixture
def host():
    return load_host("dgx-rehearsal", bare=True)


def test_a_step_is_broken_off_when_the_slice_ends():
    part = Slice(0.2)
    with pytest.raises(TimeUp), part.step("long"):
        time.sleep(30)
    with pytest.raises(TimeUp), part.step("next"):
        pytest.fail("a step began after the end")
    assert part.took == {}
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_slice_without_an_end_times_its_steps():
    part = Slice(None)
    with part.step("one"):
        pass
    assert list(part.took) == ["one"]
    assert part.left_s is None


def test_room_for_the_twins_is_checked_before_anything(host, monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(steps, "find_twin", lambda *_: None)
    missing = steps.missing_twins(host)
    assert [one.twin for one in missing] == ["twin60", "twin30", "twin42"]
    need = sum(map(full_bytes, ("twin60", "twin30", "twin42")))
    assert 40e9 < need < 46e9
    monkeypatch.setattr(steps.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=need - 1))
    with pytest.raises(Blocked, match=r"the models take 4\d GB, and .* make room, or set XDG_CACHE_HOME"):
        steps.check_room(missing)
    steps.check_room(missing[2:])


def test_twins_that_are_there_are_not_written_again(host, monkeypatch):
    monkeypatch.setattr(steps, "find_twin", lambda name, _variant: None if name == "twin42" else "there")
    assert [one.twin for one in steps.missing_twins(host)] == ["twin42"]


def test_the_kits_source_is_put_where_the_builder_looks(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "KIT", tmp_path / "kit")
    steps.bring(tmp_path / "sources")
    assert not (tmp_path / "sources").exists(), "without a kit there is nothing to bring"
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / load_pin().packed).write_bytes(b"source")
    steps.bring(tmp_path / "sources")
    assert (tmp_path / "sources" / load_pin().packed).read_bytes() == b"source"


@pytest.mark.parametrize("started", ["by hand", "with &"])
def test_the_sign_off_is_interrupted_in_time_to_write_its_report(monkeypatch, tmp_path, started):
    program = "import signal, sys, time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open(sys.argv[1], 'w').write('report')\n"
    real = steps.subprocess.Popen
    monkeypatch.setattr(steps.subprocess, "Popen", lambda *_, **__: real([sys.executable, "-c", program, str(tmp_path / "report")]))
    monkeypatch.setattr(steps, "_END_S", 0.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler if started == "by hand" else signal.SIG_IGN)
    try:
        assert steps.sign_off([], 3.0) == 75
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "report").read_text() == "report"


def test_the_reports_of_this_host_are_taken_home(tmp_path):
    for name in ("20261126T000000Z-dgx-rehearsal-1", "20261126T000000Z-local-2"):
        (tmp_path / "reports" / name).mkdir(parents=True)
        (tmp_path / "reports" / name / "verdict.json").write_text("{}")
    steps.take_home(tmp_path / "reports", "dgx-rehearsal", tmp_path / "home.tar.xz")
    with tarfile.open(tmp_path / "home.tar.xz") as tar:
        assert tar.getnames() == ["20261126T000000Z-dgx-rehearsal-1", "20261126T000000Z-dgx-rehearsal-1/verdict.json"]


@pytest.mark.parametrize("fault", red.FAULTS, ids=lambda fault: fault.name)
def test_each_wrong_deployment_is_a_host_that_loads(host, tmp_path, fault):
    engine, work = tmp_path / "engine", tmp_path / "work"
    engine.mkdir()
    work.mkdir()
    (engine / "llama-server").touch()
    data = red.small_host(host, engine, "0123abc")
    fault.spoil(data, work)
    (tmp_path / "red.toml").write_text(red.host_file(data), encoding="utf-8")
    spoiled = load_host(str(tmp_path / "red.toml"), bare=True)
    assert spoiled.standin
    assert [one.id for one in spoiled.candidates] == ["small-k3v3"]
    assert fault.burn or red.host_file(red.small_host(host, engine, "0123abc")) != red.host_file(data)


def test_a_server_that_starts_with_another_type_hides_behind_a_script(host, tmp_path):
    engine, work = tmp_path / "engine", tmp_path / "work"
    engine.mkdir()
    work.mkdir()
    (engine / "llama-server").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (engine / "llama-server").chmod(0o755)
    red._cpu_type(red.small_host(host, engine, "0123abc"), work)
    said = steps.subprocess.run([work / "llama-server", "-ctk", "tbq3_0", "-m", "a b"], capture_output=True, text=True, check=True)
    assert said.stdout == "-ctk|iq4_nl|-m|a b|"


def test_a_fault_is_caught_by_its_verdict_and_all_of_its_words(tmp_path):
    fault = red.FAULTS[0]
    assert red.caught(fault, "FAIL", "the engine found no GPU: no usable GPU found")
    assert not red.caught(fault, "FAIL", "the server died")
    assert not red.caught(fault, "PASS", "the engine found no GPU")
    run = tmp_path / "20261126T000000Z-red-1"
    run.mkdir()
    gate = {"requirement": "KV-5", "judgement": {"verdict": "FAIL", "reason": "why"}}
    (run / "verdict.json").write_text(json.dumps({"candidates": [{"gates": [gate]}]}))
    assert red.judged(tmp_path, "KV-5") == ("FAIL", "why", 0.0)


def test_a_server_that_is_held_down_stands_still_again_and_again_and_ends_with_it(host, tmp_path):
    engine, work = tmp_path / "engine", tmp_path / "work"
    engine.mkdir()
    work.mkdir()
    (engine / "llama-server").symlink_to(shutil.which("sleep"))
    red._throttled(red.small_host(host, engine, "0123abc"), work)
    process = psutil.Popen([work / "llama-server", "600"])
    try:
        for status in (psutil.STATUS_STOPPED, psutil.STATUS_SLEEPING) * 2:
            assert wait_until(lambda status=status: process.status() == status, 60.0)
        companion = process.children()[0]
    finally:
        process.kill()
        process.wait()
    assert wait_until(lambda: not is_alive(companion.pid), 60.0), "nothing goes on that would stop a stranger of that number"


def test_what_is_slower_than_before_is_held_against_what_it_was(host, tmp_path, monkeypatch):
    data = red.small_host(host, tmp_path, "0123abc")
    monkeypatch.setattr(red, "_run", lambda *_: ("PASS", "decode speed is 400 t/s", 400.0))
    red._limit_by_what_it_is(red.FAULTS[-1], data, tmp_path, tmp_path)
    (tmp_path / "red.toml").write_text(red.host_file(data), encoding="utf-8")
    limit = load_host(str(tmp_path / "red.toml"), bare=True).candidates[0].limits["decode_tps"]
    assert (limit.bound, limit.over) == (320.0, None)
