"""Runs the suite as its users do: a pytest of its own, on a host file of the test's own."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine
from support.launcher import write_launcher
from support.places import ROOT

HOST = """\
schema = 1
id = "{name}"
title = "Host of a meta test"
standin = true
[engine]
recipe = "{recipe}"
{engine}
[launch]
context = 2048
threads = 1
ready_timeout_s = {ready_timeout_s}
stop_timeout_s = 5.0
request_timeout_s = 120.0
[guard]
lock = "{lock}"
window_s = 0.5
max_foreign_cpu_pct = 100.0
residents = [{{ name = "of whoever shares this machine", model = "*" }}]
reserve_mib = 128.0
[[guard.competing]]
name = "asr"
cmdline = "asr-service-of-{name}"
max_cpu_pct = 5.0  # a burner gets no more than that on a machine that is busy with other things
[ports]
test = {port}
[speed]
prompt_set = "repetitive-en"
requests = {requests}
max_requests = 12
seconds = 0
pause_s = 5.0
max_tokens = 32
max_cv_pct = 500.0
clock_gap_ms = 5000  # of a machine that is busy with other things
[units]
directory = "~/.config/systemd/user"
scope = "user"
"""

# what sessions of these tests need not ask: it takes long, and tests of its own show it
ASIDE = ("COH-2", "COH-3", "COH-4", "COH-5", "COH-6", "LOSS-1", "PPL-2", "STA-3", "STA-4", "STA-5", "STA-6", "KV-2", "DEP-12", "DEP-13")
NOT_INSTALLED = ("AUD-4", "DEP-6", "DEP-8")

MODEL = """\
[models.{model}]
title = "{model}"
{files}
api = "chat"
"""

CANDIDATE = """
[[candidates]]
id = "{model}-q8"
title = "{model}"
model = "{model}"
lane = "q8"
role = "standin"
speculation = {{ {speculation} }}
port = {service_port}
test_port = {test_port}
unit = "{name}-{model}.service"
prompts = ["zh_marker"]
[candidates.exempt]
{exempt}[candidates.limits]
decode_tps = {{ reference = 0.1, kind = "at_least", unit = "t/s", source = "meta test" }}
accept_pct = {{ reference = 0.1, kind = "at_least", unit = "%", source = "meta test" }}
"""

SMOLLM2 = 'target = { kind = "registry", model = "smollm2-135m" }'
# no gate uses these plugins, and hypothesis takes half a second to import; -ra: every gate's reason is in the output
LEAN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-ra")
NGRAM = "ngram_mod = true, ngram_n_match = 8, ngram_n_min = 4, ngram_n_max = 16"


@dataclass(frozen=True)
class Model:
    """A model of a child's host and how it drafts, as TOML."""

    files: str = SMOLLM2
    speculation: str = NGRAM


def exempt_from(requirements, why="not part of this test"):
    """The lines below `[candidates.exempt]`."""
    return "".join(f'{requirement} = "{why}"\n' for requirement in requirements)


def write_host(folder, *, port, other=SMOLLM2, recipe="pinned+tbq", engine="", requests=4, ready_timeout_s=60.0, models=None):
    """A host with one candidate a model, `good-q8` and `other-q8` unless told otherwise, on `port`+1, `port`+2 ...; returns its file."""
    name, models = f"meta{port}", models or {"good": Model(), "other": Model(other)}
    fields = {"name": name, "port": port, "lock": folder / "run.lock", "recipe": recipe, "engine": engine}
    text = HOST.format(**fields, requests=requests, ready_timeout_s=ready_timeout_s)
    text += f"[goal]\nmodels = {json.dumps([*models])}\n[goal.chosen]\n" + "".join(f'{model} = "{model}-q8"\n' for model in models)
    exempt = exempt_from(("PPL-1", *ASIDE)) + exempt_from(NOT_INSTALLED, "nothing is installed")
    text += "".join(MODEL.format(model=model, files=made.files) for model, made in models.items())
    for offset, (model, made) in enumerate(models.items(), 1):
        ports = {"test_port": port + offset, "service_port": port + 10 + offset}
        text += CANDIDATE.format(name=name, model=model, speculation=made.speculation, exempt=exempt, **ports)
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


@dataclass
class Session:
    """One child session, running or ended."""

    process: subprocess.Popen
    reports: Path
    output_file: Path

    @property
    def output(self):
        return self.output_file.read_text("utf-8", errors="replace")

    @property
    def folder(self):
        (folder,) = [path for path in self.reports.iterdir() if path.is_dir()]
        return folder

    def wait(self, timeout=900):
        """The exit status; a session that hangs is ended and shown."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {timeout} s:\n{self.output}") from None

    def records(self):
        file = self.folder / "evidence.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def record(self, requirement, candidate):
        (found,) = [r for r in self.records() if r["requirement"] == requirement and r["candidate"] == candidate]
        return found

    def launches(self):
        file = self.folder / "launches.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def own_launches(self):
        """Starts of the candidates' own arms: a micro-twin is only launched for a KV type that no session has learnt yet."""
        return [entry for entry in self.launches() if entry["ended"] is None and not entry["arm"].startswith("micro")]

    def wait_for_launch(self, number=1, timeout=120):
        """The pid of the numbered launch of a candidate's own arm, as soon as it is on record."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            started = self.own_launches() if any(self.reports.glob("*/launches.jsonl")) else []
            if len(started) >= number:
                return started[number - 1]["pid"]
            time.sleep(0.05)
        raise AssertionError(f"no launch {number} within {timeout} s:\n{self.output}")


def start(host, reports, *args, env=None):
    """Start a child session on `host`; its report folders go under `reports`."""
    reports.mkdir(parents=True, exist_ok=True)
    output = reports.parent / f"{reports.name}.out"
    command = [sys.executable, "-m", "pytest", f"--host={host}", f"--reports={reports}", *LEAN, *args]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "READINESS_"))}
    with output.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, env=clean | (env or {}), stdout=sink, stderr=subprocess.STDOUT)
    return Session(process, reports, output)


def engines_of(pid):
    """Live engine processes below `pid`."""
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in family if _is_engine(process)]


def _is_engine(process):
    try:
        return process.name().startswith("llama-") and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def faulty_engine(folder, *faults):
    """The real engine behind a launcher with these faults (support/launcher.py), as `[engine]` keys; probes pass through."""
    return write_launcher(folder, build_engine(EngineRequest.named("pinned+tbq")).server, *faults)


def own_copy(folder):
    """A copy of the small model called other.gguf, so that a launcher can tell the candidate `other` by its path."""
    copy = folder / "other.gguf"
    shutil.copy(ensure_registry_model("smollm2-135m"), copy)
    return f'target = {{ kind = "file", path = "{copy}" }}'
