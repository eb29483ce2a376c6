"""A crash is not forgotten: what failed once of the same identity is looked at again, whatever passed before."""

import json
import os
import signal

import pytest
from support import child_session

pytestmark = [pytest.mark.runtime, pytest.mark.long]

GATE = ("-m", "coherence", "-k", "good")


class Run:
    """One ended session over the coherence gate of `good-q8`; `kill` ends its server with that signal as soon as it was launched."""

    def __init__(self, host, *args, kill=None):
        reports = host.parent / "reports"
        earlier = len(list(reports.iterdir())) if reports.exists() else 0
        session = child_session.start(host, reports, *GATE, *args)
        if kill:
            while len(list(reports.iterdir())) == earlier or not self._launches(reports):
                assert session.process.poll() is None, session.output
            os.kill(self._launches(reports)[-1]["pid"], kill)
        self.status, self.output = session.wait(), session.output
        assert "Traceback" not in self.output, self.output
        self.folder = max(path for path in reports.iterdir() if path.is_dir())
        (self.record,) = self._lines(reports, "evidence.jsonl")
        self.launched = bool(self._lines(reports, "launches.jsonl"))

    def _launches(self, reports):
        """Starts of the candidate's own server."""
        return [entry for entry in self._lines(reports, "launches.jsonl") if entry["arm"] == "production" and entry["ended"] is None]

    @staticmethod
    def _lines(reports, name):
        """The lines of the newest run's file."""
        folders = [path for path in reports.iterdir() if path.is_dir()]
        file = max(folders) / name if folders else reports / "none"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def name(self):
        return f"{self.folder.name}#{self.record['seq']}"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return child_session.write_host(tmp_path_factory.mktemp("crash"), port=18640)


def test_a_pass_is_not_reused_past_a_newer_crash(host):
    first = Run(host)
    assert (first.status, first.launched) == (0, True), first.output
    assert Run(host).launched is False, "nothing stands against it yet"

    crashed = Run(host, "--fresh", kill=signal.SIGKILL)
    assert (crashed.status, crashed.record["status"]) == (1, "error"), crashed.output

    judged = Run(host, "--from-ledger")
    assert (judged.status, judged.launched) == (1, False), "the crash is what the ledger says"
    assert judged.record["reused_from"] == crashed.name

    again = Run(host)
    assert (again.status, again.launched, again.record["reused_from"]) == (0, True, None), again.output
    earlier = again.record["raw"]["supersedes"]
    assert f"{crashed.name} of the same identity failed: llama-server" in earlier["because"].replace(judged.name, crashed.name)
    assert first.folder.name in earlier["run"] or earlier["run"] < crashed.folder.name
    assert "of the same identity failed" in (again.folder / "index.html").read_text("utf-8")

    last = Run(host)
    assert (last.status, last.launched, last.record["reused_from"]) == (0, False, again.name), "what was looked at again is reused again"
