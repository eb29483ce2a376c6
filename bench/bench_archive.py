"""The archive of a host with 1000 runs: how long it takes to open, and how much memory, its index made anew included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import Bench, Reading, milliseconds
from fixtures.evidence.archive import open_archive
from fixtures.evidence.index import index_file
from fixtures.evidence.ledger import line_of, sha256_of
from fixtures.records.conditions import Conditions
from fixtures.records.evidence import GENESIS_SHA256, Evidence, EvidenceStatus

_RUNS = 1000
_RECORDS = 40  # of local's size: KV, coherence and perplexity of seven candidates
_HOST, _NEXT = "local", "99991231T000000Z-local-1"
_KEY, _IDENTITY = ("COH-1", "twin42-q8", "case-0"), {"engine": "e" * 70, "models": "m" * 64, "command": "c" * 64, "machine": "x" * 64}
_PEAK = """
import re, sys
from pathlib import Path
from fixtures.evidence.archive import open_archive
open_archive(Path(sys.argv[1]), "local", before=sys.argv[2]).close()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def _record(run: str, started: datetime, number: int) -> Evidence:
    return Evidence(
        run=run,
        seq=number + 1,
        prev_sha256=GENESIS_SHA256,
        candidate=_KEY[1],
        arm="production",
        requirement=_KEY[0],
        case=f"case-{number}",
        marker="coherence",
        status=EvidenceStatus.MEASURED,
        reason="",
        started=started,
        duration_s=1.0,
        measured={"score": 1.0},
        unit="",
        conditions=Conditions(),
        identity=_IDENTITY,
        raw={"answer": "x" * 2000},
    )


def _write_run(reports: Path, started: datetime) -> None:
    name = f"{started:%Y%m%dT%H%M%SZ}-{_HOST}-1"
    folder, last, lines = reports / name, GENESIS_SHA256, []
    folder.mkdir()
    for number in range(_RECORDS):
        lines.append(line_of(_record(name, started, number).model_copy(update={"prev_sha256": last})))
        last = sha256_of(lines[-1])
    (folder / "evidence.jsonl").write_bytes(b"\n".join([*lines, b""]))
    (folder / "verdict.json").write_text(json.dumps({"run": name, "host": _HOST, "evidence_sha256": last}), encoding="utf-8")


@contextmanager
def _thousand_runs() -> Iterator[Path]:
    """Their reports folder; the index goes into a cache of its own."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory(prefix="readiness-bench-") as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        reports = Path(folder, "reports")
        reports.mkdir()
        for number in range(_RUNS):
            _write_run(reports, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number))
        try:
            yield reports
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


@contextmanager
def _opening() -> Iterator[Reading]:
    with _thousand_runs() as reports:
        open_archive(reports, _HOST, before=_NEXT).close()

        def open_and_ask() -> None:
            with closing(open_archive(reports, _HOST, before=_NEXT)) as archive:
                newest = archive.newest(_KEY, _IDENTITY)
                if newest is None or isinstance(archive.reread(_KEY, newest), str):
                    raise AssertionError("the newest record was not found")

        yield milliseconds(open_and_ask)


@contextmanager
def _memory() -> Iterator[Reading]:
    with _thousand_runs() as reports:

        def peak_mib() -> float:
            index_file(reports, _HOST).unlink(missing_ok=True)
            command = [sys.executable, "-c", _PEAK, str(reports), _NEXT]
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        yield peak_mib


BENCHES = (
    Bench(f"archive of {_RUNS} runs opened, its newest record read", 1000, "ms", _opening),
    Bench(f"archive of {_RUNS} runs indexed anew, memory of the process", 200, "MiB", _memory, repeats=1),
)
