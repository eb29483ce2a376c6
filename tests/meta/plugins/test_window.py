"""`--window` as whole sessions: what does not fit takes no lock and launches nothing; speed comes first; the next window goes on."""

import pytest
from support import child_session

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
    assert all(record["reason"].startswith("does not fit the window of 60 s: give --window again") for record in records)
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
