"""What an earlier run has proven counts while all is the same, and no longer: sessions over the archive of a clean one."""

import json
import os
import shutil
import signal
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support import child_session
from support.engine_copies import as_engine, copied
from support.planted_table import faults_of
from support.planted_verdict import Signed
from support.planting import Host, model

from fixtures.models.content_hash import content_sha256

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS = faults_of("again")
_KEY = b'"draft_n_accepted":'


class Machine:
    """A host with an engine and a model of its own, and the archive of its runs."""

    def __init__(self, folder):
        self.reports = folder / "reports"
        self.library, self.model = (
            (copied(folder / "engine") / "libggml-base.so").resolve(),
            Path(shutil.copy(model(), folder / "own.gguf")),
        )
        self.host = Host(folder, 21320, {"clean": {}}, recipe="path", engine=as_engine(folder / "engine"))
        files = f'target = {{ kind = "file", path = "{self.model}", sha256 = "{content_sha256(self.model)}" }}'
        self.host.files = {"clean": (files, "completion")}
        self.host.write()

    def run(self, *args, kill=False):
        """A session over the audit and the prompts; with `kill` its server is killed as soon as it is up. Sessions share their reports."""
        earlier = self.runs()
        session = child_session.start(self.host.file, self.reports, "-m", "coherence or audit", *args)
        if kill:
            while not (started := [entry for entry in self.launches() if self.runs() != earlier and entry["arm"] == "production"]):
                assert session.process.poll() is None, session.output
                time.sleep(0.02)
            os.kill(started[-1]["pid"], signal.SIGKILL)
        session.wait()
        assert "Traceback" not in session.output, session.output
        return Signed(session, self.runs()[-1])

    def runs(self):
        """The folders of all runs, the newest last."""
        return sorted(path for path in self.reports.iterdir() if path.is_dir()) if self.reports.exists() else []

    def launches(self):
        """Of the newest run."""
        file = self.runs()[-1] / "launches.jsonl" if self.runs() else self.reports
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


@contextmanager
def edited(path, change):
    """The file with other bytes and its old time; in the end as it was."""
    content, times = path.read_bytes(), path.stat()
    for now in (change(content), content):
        path.write_bytes(now)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if now is not content:
            yield


@contextmanager
def unsealed(machine):
    """Every earlier run without its verdict, as one that was cut off."""
    verdicts = [run / "verdict.json" for run in machine.runs()]
    for verdict in verdicts:
        verdict.rename(verdict.with_suffix(".away"))
    yield
    for verdict in verdicts:
        verdict.with_suffix(".away").rename(verdict)


@contextmanager
def rewritten(machine):
    """Every ledger put right by hand; a record that was carried over stands in several."""
    with ExitStack() as stack:
        ledgers = [ledger for run in machine.runs() if _KEY in (ledger := run / "evidence.jsonl").read_bytes()]
        for ledger in ledgers:
            stack.enter_context(edited(ledger, lambda lines: lines.replace(_KEY, _KEY + b" ")))
        yield


@contextmanager
def crashed(machine):
    """A newer run whose server is killed at the same prompt."""
    machine.run("--fresh", kill=True)
    yield


CHANGES = {
    # behind the end of an ELF file, which loads and computes as before
    "library": lambda machine: edited(machine.library, lambda content: content + b"\n"),
    "model": lambda machine: edited(machine.model, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "variable": lambda machine: edited(
        machine.host.file, lambda text: text.replace(b"[launch]", b'env = { GGML_OF_THIS_TEST = "1" }\n[launch]')
    ),
    "record": rewritten,
    "verdict": unsealed,
    "crash": crashed,  # the last one: it stays in the archive
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("again"))
    first = made.run()
    assert {verdict for requirement, verdict, _ in first.gates("clean") if requirement in ("AUD-1", "COH-1")} == {"PASS"}
    return made


def test_while_all_is_the_same_it_counts(machine):
    again = machine.run("--from-ledger")
    assert {verdict for requirement, verdict, _ in again.gates("clean") if requirement == "COH-1"} == {"PASS"}
    assert machine.launches() == []


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(machine, fault):
    with CHANGES[fault.plant["change"]](machine):
        again = machine.run(*fault.plant.get("args", ["--from-ledger"]))
    again.assert_caught(fault, "clean")


def test_after_a_crash_the_ordinary_run_looks_again(machine):
    again = machine.run()
    assert [entry["arm"] for entry in machine.launches() if entry["ended"] is None] == ["production"]
    assert "of the same identity failed: llama-server" in (again.folder / "index.html").read_text("utf-8")
    machine.run()
    assert machine.launches() == [], "what was looked at again is reused again"
