"""Command line, environment and old runs, as whole sessions: right exit status, one message, no trace, nothing green, nothing lost."""

import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from support.archive_samples import record, write_run
from support.bad_input import FOREIGN, sparse
from support.child_session import LEAN
from support.places import ROOT

from fixtures.catalog.load import CATALOG
from fixtures.models.cache import cache_root

pytestmark = [pytest.mark.runtime, pytest.mark.long]

USAGE = 4
AUDIT = ("--host=local", "-m", "audit", "-k", "smollm2-135m-q8")
ASKED = ("--host=local", "-m", "coherence", "-k", "smollm2-135m-q8")
SECRET = "swordfish"  # noqa: S105 - no password


@dataclass(frozen=True)
class Case:
    """Arguments and variables of a session, in which HERE is its folder; `said` is in its output."""

    args: tuple[str, ...]
    said: str
    env: dict = field(default_factory=dict)
    status: int = USAGE


def wait(seconds):
    return Case((*AUDIT, f"--wait-clear={seconds}"), r"is no time to wait: expected 0 to 604800 seconds")


CASES_OF = {
    "wait: no number": wait("nan"),
    "wait: negative": wait("-1"),
    "wait: 10^30": wait("1e30"),
    "wait: a word": wait("soon"),
    "host: a pipe": Case(("--host=HERE/pipe.toml", "-m", "audit"), r"pipe\.toml: is a named pipe \(FIFO\)"),
    "host: a device": Case(("--host=/dev/zero", "-m", "audit"), r"/dev/zero: is a device"),
    "host: unknown": Case(("--host=dxg", "-m", "audit"), r'has no host "dxg"; did you mean `dgx`'),
    "overlay: a folder": Case((*AUDIT, "--overlay=HERE"), r"is a directory; expected a TOML file"),
    "overlay: not there": Case((*AUDIT, "--overlay=HERE/none.toml"), r"none\.toml: does not exist"),
    "overlay: a home of nobody": Case(
        (*AUDIT, "--overlay=~nosuchuser/x.toml"), r"--overlay: .* begins with the home of a user who has none"
    ),
    "waivers: a pipe": Case((*AUDIT, "--waivers=HERE/pipe.toml"), r"pipe\.toml: is a named pipe"),
    "waivers: 10 GB": Case((*AUDIT, "--waivers=HERE/big.toml"), r"big\.toml: is larger than 1 MiB"),
    "import: a pipe": Case(("--host=local", "--import=HERE/pipe.toml"), r"--import: .*pipe\.toml: is a named pipe"),
    "import: not TOML": Case(("--host=local", "--import=HERE/text.toml"), r"--import: .*text\.toml: is not valid TOML"),
    "choose: no lane": Case(("--host=twins", "--choose", "twin30=k9", "Ann: enough memory"), r'--choose: "k9" is no lane of twin30'),
    "choose: nobody": Case(("--host=twins", "--choose", "twin30=k3v3", " : enough memory"), r"--choose: the signature .*expected"),
    "recheck: not there": Case(("--recheck=HERE/none",), r"--recheck: .* is no run folder"),
    "recheck: a pipe": Case(("--recheck=HERE/run",), r"--recheck: .*run\.json: it is a named pipe"),
    "baseline: nested": Case((*AUDIT, "--baseline=HERE/nested"), r"--baseline: .*run\.json cannot be read by this version"),
    "noise: nobody": Case((*AUDIT, "--accept-noisy=: because it must be so"), r'expected "WHO: REASON"'),
    "noise: paints": Case((*AUDIT, "--accept-noisy=\x1b[31mAnn: because it must be so"), r'--accept-noisy "\?\[31mAnn'),
    "reports: a device": Case((*AUDIT, "--reports=/dev/null"), r"cannot write /dev/null"),
    "language: unknown": Case((*AUDIT, "--report-lang=xx"), r"invalid choice: 'xx'"),
    "soak: words": Case((*AUDIT, "--soak=two hours"), r"'two hours' is no length of a soak: expected a number of requests \(299\)"),
    "soak and attach": Case((*AUDIT, "--soak=299", "--attach=http://127.0.0.1:1"), r"--attach launches nothing, and a soak needs a server"),
    "window: a word": Case((*AUDIT, "--window=soon"), r"'soon' is no length of a window: expected a time up to a week \(45s, 90m, 2h\)"),
    "window and from ledger": Case((*AUDIT, "--window=45m", "--from-ledger"), r"launches nothing, so it needs no quiet window"),
    "window and requests": Case((*AUDIT, "--window=45m", "--soak=299"), r"beside --window give it a time, as in --soak=20m"),
    "fresh and from ledger": Case((*AUDIT, "--fresh", "--from-ledger"), r"give one of them"),
    "variable: host that paints": Case(("-m", "audit"), r'has no host "\\x1b\[31m"', {"READINESS_HOST": "\x1b[31m"}),
    "variable: overlay of a bad number": Case(
        AUDIT, r"local\.toml, line 2: `launch\.ubatch` is -5; expected 1 to 65536", {"XDG_CONFIG_HOME": "HERE/config"}
    ),
    "attach: a password": Case((*ASKED, f"--attach=http://ann:{SECRET}@127.0.0.1:1"), r"--attach: not a server address"),
    "attach: a key of two lines": Case(
        (*ASKED, "--attach=http://127.0.0.1:1"), r"READINESS_API_KEY holds characters", {"READINESS_API_KEY": f"{SECRET}\nx"}
    ),
    "attach: brackets": Case((*ASKED, "--attach=http://[::1"), r"not a server address"),
}
# sessions that run in spite of what they find: it is told, and costs nothing
RUNNING = {
    "an old run that is a pipe": Case(
        (*AUDIT, "--reports=HERE/damaged"), r"20261102T120000Z-local-1 is left out: cannot be read", status=0
    ),
    "variable: a cache that is none": Case(AUDIT, r"passed|skipped", {"XDG_CACHE_HOME": "/dev/null"}, status=75),
    "variable: no home, no width": Case(AUDIT, r"passed", {"HOME": "", "COLUMNS": "-5"}, status=0),
}
CASES = (CASES_OF, RUNNING)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The files that the cases name."""
    here = tmp_path_factory.mktemp("doors")
    os.mkfifo(here / "pipe.toml")
    sparse(here / "big.toml")
    (here / "text.toml").write_text("just words\n")
    (here / "run").mkdir()
    os.mkfifo(here / "run" / "run.json")
    (here / "nested").mkdir()
    (here / "nested" / "run.json").write_text("[" * 100_000)
    (here / "config" / "llama-readiness").mkdir(parents=True)
    (here / "config" / "llama-readiness" / "local.toml").write_text("[launch]\nubatch = -5\n")
    ledger = write_run(here / "damaged", 2, record(2)) / "evidence.jsonl"
    ledger.unlink()
    os.mkfifo(ledger)
    return here


def session(place, name, case, more=()):
    """The ended session of one case."""
    filled = [arg.replace("HERE", str(place)) for arg in case.args]
    if not any(arg.startswith("--reports") for arg in filled):
        filled.append(f"--reports={place / 'reports' / re.sub('[^a-z]+', '-', name)}")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "READINESS_"))}
    env = (
        clean
        | {"XDG_CONFIG_HOME": str(place / "none"), "XDG_CACHE_HOME": str(cache_root().parent)}
        | {key: value.replace("HERE", str(place)) for key, value in case.env.items()}
    )
    command = [sys.executable, "-m", "pytest", *LEAN, *filled, *more]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, errors="replace", timeout=300, check=False)


@pytest.fixture(scope="module")
def ended(place):
    """Every session, two at a time."""
    cases = CASES_OF | RUNNING
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(cases, pool.map(lambda name: session(place, name, cases[name]), cases), strict=True))


@pytest.mark.parametrize("name", [*CASES_OF, *RUNNING])
def test_session(name, ended):
    case, done = (CASES_OF | RUNNING)[name], ended[name]
    output = done.stdout + done.stderr
    assert re.search(case.said, output), output
    assert done.returncode == case.status, output
    assert "\x1b" not in output
    assert SECRET not in output
    for foreign in FOREIGN:
        assert foreign not in output, output
    if case.status == USAGE:
        assert "passed" not in output, "nothing green"


def test_a_damaged_old_run_costs_the_new_one_nothing(ended, place):
    assert ended["an old run that is a pipe"].returncode == 0
    (new,) = [folder for folder in (place / "damaged").iterdir() if "20261102" not in folder.name]
    assert len((new / "evidence.jsonl").read_text().splitlines()) == 5


def test_what_nobody_foresaw_in_a_measurement_is_an_error_record(place, tmp_path):
    """Not a hole: the gate fails with one sentence, its trace is in the run's folder, and the session ends as it should."""
    plugin = tmp_path / "planted_fault.py"
    plugin.write_text(
        "import fixtures.evidence.obtain as obtain\n"
        "def broken(self, *_):\n"
        '    raise ZeroDivisionError("planted \\x1b[31m --api-key swordfish")\n'
        "obtain.Obtainer._evidence = broken\n"
    )
    case = Case((*AUDIT, "-p", "planted_fault", f"--reports={tmp_path / 'reports'}"), "", {"PYTHONPATH": str(tmp_path)})
    done = session(place, "planted", case)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "the measurement broke off with what nobody foresaw: ZeroDivisionError at fixtures/evidence/obtain.py" in output
    assert "Traceback" not in output
    assert "\x1b" not in output
    assert SECRET not in output
    (folder,) = (tmp_path / "reports").iterdir()
    records = [json.loads(line) for line in (folder / "evidence.jsonl").read_text().splitlines()]
    assert {entry["status"] for entry in records} == {"error"}
    assert all("its trace is in logs/unforeseen.log" in entry["reason"] for entry in records)
    log = (folder / "logs" / "unforeseen.log").read_text()
    assert "Traceback" in log
    assert SECRET not in log
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["coverage"]["failed"] == 3, "the required ones"


@pytest.mark.parametrize(
    ("hook", "status"),
    [
        ("pytest_collection_modifyitems(items)", 3),
        ("pytest_runtest_protocol(item)", 3),
        ("pytest_report_header(config)", 3),
    ],
)
def test_what_nobody_foresaw_in_the_session_is_one_sentence(place, tmp_path, hook, status):
    (tmp_path / "planted_fault.py").write_text(f'def {hook}:\n    raise ZeroDivisionError("planted \\x1b[31m")\n')
    case = Case((*AUDIT, "-p", "planted_fault", f"--reports={tmp_path / 'reports'}"), "", {"PYTHONPATH": str(tmp_path)})
    done = session(place, "planted", case)
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    assert "nobody foresaw this: ZeroDivisionError: planted ⟨U+001B⟩[31m" in output, output
    assert "Traceback" not in output
    assert "\x1b" not in output


OTHER_UNIT = """
import fixtures.measure.reviewed as room

real = room.load_reviewed

def other(host, candidate):
    found = real(host, candidate)
    return found.model_copy(update={"texts": found.texts.model_copy(update={"unit": "[Service]"})})

room.load_reviewed = other
"""


def test_snapshot_update_has_no_power_over_reviewed_texts(place, tmp_path):
    """A rendered text is reviewed by `make review` alone: an option that pytest's snapshots offer changes neither file nor verdict."""

    def reviewed():
        return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in (CATALOG / "reviewed").rglob("*") if file.is_file()}

    before = reviewed()
    (tmp_path / "planted_fault.py").write_text(OTHER_UNIT)
    args = ("--host=local", "-k", "smollm2-135m-q8 and test_unit_text", "--snapshot-update", "-p", "planted_fault")
    for _ in range(2):
        session(place, "snapshots", Case((*args, f"--reports={tmp_path / 'reports'}"), "", {"PYTHONPATH": str(tmp_path)}))
    verdicts = [
        gate["judgement"]["verdict"]
        for file in (tmp_path / "reports").glob("*/verdict.json")
        for candidate in json.loads(file.read_text())["candidates"]
        for gate in candidate["gates"]
        if gate["requirement"] == "DEP-5" and gate["seq"]
    ]
    assert reviewed() == before
    assert verdicts == ["FAIL"] * 2, "in both runs"
