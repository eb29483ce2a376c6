"""Run folders of host `local` as earlier sessions left them: ledger, verdict and manifest."""

import json
from datetime import UTC, datetime

from fixtures.evidence.ledger import Ledger, read_ledger
from support.evidence_samples import evidence

IDENTITY = {"engine": "e", "models": "m", "machine": "x"}
KEY = ("KV-1", "twin42-q8", "")
LAST = "29991231T000000Z-local-1"


def run_name(day, host="local"):
    return f"202611{day:02}T120000Z-{host}-1"


def record(day, *, identity=IDENTITY, host="local", hour=13, **changed):
    """A record of the run of that day in November, measured an hour after it began."""
    started = datetime(2026, 11, day, hour, 0, tzinfo=UTC)
    return evidence(**changed).model_copy(update={"run": run_name(day, host), "started": started, "identity": identity})


def write_run(reports, day, *records, host="local", sealed=True, of_host=None):
    """The folder of that day's run with these records; `sealed` False leaves it as a killed run does."""
    folder = reports / run_name(day, host)
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "evidence.jsonl")
    for found in records:
        ledger.append(found)
    if sealed:
        seal(folder, of_host or host)
    return folder


def seal(folder, host="local"):
    sha256 = read_ledger(folder / "evidence.jsonl").sha256
    (folder / "verdict.json").write_text(json.dumps({"run": folder.name, "host": host, "evidence_sha256": sha256}))
    (folder / "run.json").write_text(json.dumps({"run": folder.name, "host": {"id": host}}))
