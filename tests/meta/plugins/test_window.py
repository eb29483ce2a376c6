"""`--window` as whole sessions: what fits, in which order, what is broken off at the end, and that the next window goes on."""

import json
import time

import pytest
from support import child_session

from fixtures.host.lock import RunLock

pytestmark = [pytest.mark.runtime, pytest.mark.long]

GATES = ("-m", "kv or coherence or tps or stability", "-k", "good")


def window(host, reports, length):
    """A session in a window of that length, and its records of gates that launch something, in the order they were asked."""
    session = child_session.start(host, reports, *GATES, f"--window={length}")
    return session, session.wait(), [record for record in session.records() if record["arm"] != "none"]


def test_windows_one_after_the_other(tmp_path):
    host = child_session.write_host(tmp_path, port=18975)
    short, status, records = window(host, tmp_path / "short", "1m")
    assert status == 75, short.output
    assert {record["status"] for record in records} == {"blocked"}
    assert all(record["reason"].startswith("does not fit the window of 60 s: it takes about ") for record in records)
    assert all(record["raw"]["window"]["needs_s"] > record["raw"]["window"]["left_s"] for record in records)
    assert not short.launches()
    assert not (tmp_path / "run.lock").exists(), "nobody who waits for the machine was kept from it"
    assert "does not fit good-q8: TPS-1, TPS-4, TPS-2, TPS-3, " in short.output

    long, status, records = window(host, tmp_path / "long", "60m")
    assert status == 0, long.output
    assert "speed    good-q8: TPS-1, TPS-4, TPS-2, TPS-3" in long.output
    assert long.output.index("readiness window: 60 min") < long.output.index("\ntests/test_")
    asked = [record["requirement"] for record in records if record["arm"] == "production"]
    assert asked[:5] == ["TPS-1", "TPS-4", "TPS-5", "TPS-2", "TPS-3"], "speed is asked of a server that has done nothing else"
    assert asked[-1] == "STA-1"

    again = child_session.start(host, tmp_path / "long", *GATES, "--window=1m")
    assert again.wait() == 0, again.output
    assert "gates count from earlier runs" in again.output
    newest = max(path for path in again.reports.iterdir() if path.is_dir())
    assert not (newest / "launches.jsonl").exists(), "all of it was proven in the window before, speed included"


def speeds(host, reports, told, *, prompts, tokens, seconds, length):
    """A session of the speed gates alone on the host as `told`, but for how speed is measured."""
    plan = {
        'prompt_set = "repetitive-en"': f'prompt_set = "{prompts}"',
        "pause_s = 5.0": "pause_s = 0",
        "max_tokens = 32": f"max_tokens = {tokens}",
        "seconds = 0": f"seconds = {seconds}",
        "max_requests = 12": "max_requests = 40",
    }
    for old, new in plan.items():
        assert old in told
        told = told.replace(old, new)
    host.write_text(told)
    session = child_session.start(host, reports, "-m", "tps", "-k", "good", f"--window={length}s")
    status = session.wait()
    newest = max(path for path in reports.iterdir() if path.is_dir())
    records = [json.loads(line) for line in (newest / "evidence.jsonl").read_text().splitlines()]
    launched = newest / "launches.jsonl"
    launches = [json.loads(line) for line in launched.read_text().splitlines()] if launched.exists() else []
    return session.output, status, {record["requirement"]: record for record in records}, launches


def test_a_gate_that_outlasts_the_window_is_broken_off(tmp_path):
    """It took seconds before and takes many minutes now: at the end its server is stopped, and the next window measures it anew."""
    host, reports = child_session.write_host(tmp_path, port=18970, models={"good": child_session.Model()}), tmp_path / "reports"
    told = host.read_text()
    # other prompts, so that nothing of it counts later
    output, _, records, _ = speeds(host, reports, told, prompts="short-en", tokens=32, seconds=0, length=3600)
    assert {record["status"] for record in records.values()} == {"measured"}, output
    took = sum(record["duration_s"] for record in records.values())

    began, length = time.monotonic(), round(2 * took + 60)
    output, status, records, launches = speeds(host, reports, told, prompts="repetitive-en", tokens=1024, seconds=3600, length=length)
    assert status == 75, output
    assert time.monotonic() - began < length + 60
    assert {record["status"] for record in records.values()} == {"blocked"}
    assert records["TPS-1"]["reason"].startswith("good-q8/production was stopped by the watchdog: the window ended after ")
    assert "measures this anew" in records["TPS-1"]["reason"]
    assert (records["TPS-1"]["measured"], records["TPS-1"]["raw"]) == ({}, {})
    assert all(records[name]["reason"].startswith("does not fit the window of ") for name in ("TPS-2", "TPS-3", "TPS-4"))
    assert [entry["exit_status"] for entry in launches if entry["arm"] == "production"] == [None, -9], "one launch, and it was stopped"
    with RunLock(tmp_path / "run.lock"):  # was given back
        pass

    output, status, records, launches = speeds(host, reports, told, prompts="repetitive-en", tokens=1024, seconds=3600, length=length)
    assert status == 75, output
    assert "so no window of this length has room for it: give a longer one" in records["TPS-1"]["reason"]
    assert not launches, "it is not broken off a second time"

    output, status, records, launches = speeds(host, reports, told, prompts="repetitive-en", tokens=32, seconds=0, length=3600)
    assert status == 0, output
    assert {(record["status"], record["reused_from"]) for record in records.values()} == {("measured", None)}
