"""A machine of an owner's, in a container: a legacy fallback that answers, two release candidates on twins, and this checkout."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fixtures.models.twins import ensure_twin
from fixtures.models.twins.scripts import Script
from llama_build import EngineRequest, build_engine
from support.places import ROOT

ENGINE, MODELS = "/opt/llama/engine", "/opt/llama/models"  # as an owner has them: where a service with a private /tmp can see them
UNITS = "/etc/systemd/system"
FALLBACK, GOOD, OTHER = "llama-legacy.service", "llama-rc-good.service", "llama-rc-other.service"
FALLBACK_PORT, GOOD_PORT, OTHER_PORT = 8080, 8088, 8089
APPROVE = ("--approve", "Ann: a meta test starts and stops it")

HOST = f"""\
schema = 1
id = "ground"
title = "Owner's machine in a container"
standin = true
[engine]
recipe = "path"
path = "{ENGINE}"
commit = "0c1e57098bba"
[launch]
context = 1024
threads = 1
ready_timeout_s = 40.0
stop_timeout_s = 10.0
request_timeout_s = 120.0
[guard]
lock = "@B/run.lock"
window_s = 0.2
max_foreign_cpu_pct = 100.0
residents = [{{ name = "any", model = "*" }}]
reserve_mib = 64.0
[ports]
test = 8087
[ports.watch]
fallback = {FALLBACK_PORT}
[fallback]
unit = "{FALLBACK}"
watch = "fallback"
[speed]
prompt_set = "short-en"
[coherence]
texts = "@B/texts"
[units]
directory = "{UNITS}"
scope = "system"
user = "llama"
[goal]
models = ["twin"]
chosen = {{ twin = "good" }}
[models.twin]
title = "Scripted twin"
target = {{ kind = "file", path = "{MODELS}/target.gguf" }}
drafter = {{ kind = "file", path = "{MODELS}/drafter.gguf" }}
geometry = "gemma4-26b-a4b"
api = "chat"
"""
CANDIDATE = """
[[candidates]]
id = "{id}"
title = "Twin"
model = "twin"
lane = "{lane}"
role = "standin"
speculation = {{ mtp_block = 3, ngram_mod = true, ngram_n_match = 8, ngram_n_min = 4, ngram_n_max = 16 }}
policy = {{ no_graphs = true }}
port = {port}
unit = "{unit}"
prompts = {prompts}
[candidates.exempt]
{exempt}
[candidates.limits]
kv_8k_mib = {{ reference = {kv}, tolerance = 0.01, kind = "equal", unit = "MiB", source = "geometry" }}
# the container does not see the processes of the machine around it, and other tests run there: one took 1.4 GiB meanwhile
kept_mib = {{ reference = 8192, kind = "at_most", unit = "MiB", source = "meta test" }}
"""
# scripted text, a machine that others share, and what is advisory and takes long: tests of its own show it
_NOT_HERE = ("PPL-1", "PPL-2", "TPS-1", "TPS-2", "TPS-3", "COH-2", "COH-3", "COH-4", "COH-5", "COH-6", "STA-6", "LOSS-1")
LEGACY = f"""\
[Unit]
Description=the owner's legacy service
[Service]
User=llama
EnvironmentFile=/etc/llama/legacy.env
ExecStart={ENGINE}/llama-server -m {MODELS}/target.gguf --port ${{PORT}} -c 512 -np 1 --jinja -t 1
Restart=on-failure
RestartSec=1
"""
OVERRIDE = "[Service]\nNice=5\n"

GARBAGE = (Script(id="zh_marker", trigger="驗收標記", answer="【驗收標記】亂碼"), Script(id="default", trigger="", answer="不對"))


def shown():
    """What of this machine stands inside: pairs for `booted`. The twin lies under a name of its own."""
    twin = ensure_twin("twin30", "scripted")
    garbage = ensure_twin("twin30", "scripted", scripts=GARBAGE)
    engine = build_engine(EngineRequest.named("pinned+tbq")).folder
    python = Path(sys.base_prefix)
    places = {(python, python), (Path(sys.prefix).resolve(),) * 2, (ROOT, ROOT), (engine, ENGINE)}
    return [*places, (twin.target.parent, MODELS), (garbage.target.parent, "/opt/llama/garbage")]


@dataclass
class Ground:
    """The container with all that installed in it. `reports` are the runs of its host."""

    container: object
    bind: Path
    host: Path = field(init=False)
    reports: Path = field(init=False)

    def __post_init__(self):
        self.host, self.reports = self.bind / "ground.toml", self.bind / "reports"

    def readiness(self, *words, **more):
        """`./readiness` from another folder than the checkout's; returns what it printed and its status."""
        return self.run(str(ROOT / "readiness"), *words, *self.options, **more)

    def pytest(self, *words):
        """The suite's gates, as an owner runs them."""
        return self.run(f"{ROOT}/.venv/bin/python", "-m", "pytest", "-p", "no:cacheprovider", *self.options, *words, cwd=str(ROOT))

    def run(self, *command, **more):
        """With caches of its own: the checkout is read-only."""
        return self.container.run(*command, env=self.own, **more)

    @property
    def own(self):
        """Variables that lead what the suite keeps into `bind`."""
        folders = {"XDG_CACHE_HOME": "cache", "PYTHONPYCACHEPREFIX": "pyc", "XDG_STATE_HOME": "state"}
        return {name: str(self.bind / folder) for name, folder in folders.items()}

    @property
    def options(self):
        return f"--host={self.host}", f"--reports={self.reports}"

    def systemctl(self, *words):
        return self.container.ask("systemctl", *words)

    def machine(self):
        """What a command must leave as it was: states of the units, processes of engines, listening ports, the lock's holder."""
        states = {unit: self.state(unit) for unit in (FALLBACK, GOOD, OTHER)}
        running = self.container.ask("sh", "-c", "cat /proc/[0-9]*/comm /proc/net/tcp 2>/dev/null; true").splitlines()
        engines = sum(line.startswith("llama-") for line in running)
        ports = sorted(line.split()[1] for line in running if line.split()[3:4] == ["0A"])
        lock = self.bind / "run.lock"
        return states, engines, ports, lock.read_text() if lock.exists() else ""

    def tree(self, place):
        """Every file below a folder of the container with what it holds, as one hash."""
        files = f"find {place} -xdev -type f -print0 | sort -z | xargs -0 -r sha256sum; find {place} -xdev -type l -printf '%p %l\n' | sort"
        return self.container.run("sh", "-c", f"({files}) 2>/dev/null | sha256sum").stdout

    def background(self, program, *words):
        """A program of somebody else's inside, until `end`; "python" is this suite's."""
        program = f"{ROOT}/.venv/bin/python" if program == "python" else program
        command = ["nsenter", "-t", str(self.container.leader), "-a", program, *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self, process):
        """With what it has started: a killed nsenter leaves its child."""
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        process.wait()

    def end_named(self, name):
        """Every process of that name inside."""
        each = f'for c in /proc/[0-9]*/comm; do [ "$(cat $c)" = {name} ] && kill -9 $(echo $c | cut -d/ -f3); done'
        self.container.run("sh", "-c", each)

    def wait_for_port(self, port):
        self.wait_until(lambda: f":{port:04X} " in self.container.ask("cat", "/proc/net/tcp"))

    def wait_until(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def state(self, unit):
        return self.systemctl("show", unit, "--property=ActiveState", "--value").strip()

    def pid(self, unit):
        return int(self.systemctl("show", unit, "--property=MainPID", "--value"))

    def journal(self, unit):
        """What a unit has said."""
        return self.container.ask("journalctl", "--quiet", "-o", "cat", f"--unit={unit}")

    def write(self, place, text):
        """A file of the container."""
        file = self.container.path(place)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def dropin(self, unit, text, name="90-planted.conf"):
        """A drop-in of the [Service] section, loaded."""
        self.write(f"{UNITS}/{unit}.d/{name}", f"[Service]\n{text}\n")
        self.systemctl("daemon-reload")

    def without_dropin(self, unit, name="90-planted.conf"):
        folder = self.container.path(f"{UNITS}/{unit}.d")
        (folder / name).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        self.systemctl("daemon-reload")

    def write_host(self, **fallback):
        """The host file; `fallback`: further keys of its [fallback] table."""
        text = HOST.replace("@B", str(self.bind))
        more = "".join(f'{key} = "{value}"\n' for key, value in fallback.items())
        text = text.replace('watch = "fallback"\n', f'watch = "fallback"\n{more}')
        exempt = "\n".join(f'{gate} = "not here"' for gate in _NOT_HERE)
        common = {"exempt": exempt, "prompts": json.dumps(["zh_marker", "repeat_line"])}
        text += CANDIDATE.format(id="good", lane="k3v3", port=GOOD_PORT, unit=GOOD, kv=89.84375, **common)
        text += CANDIDATE.format(id="other", lane="k3v4", port=OTHER_PORT, unit=OTHER, kv=106.015625, **common)
        self.host.write_text(text)

    def newest(self, requirement, candidate):
        """The newest run's record of a gate, and what it was judged to be."""
        run = max(folder for folder in self.reports.iterdir() if (folder / "verdict.json").exists())
        records = [json.loads(line) for line in (run / "evidence.jsonl").read_text().splitlines()]
        verdict = json.loads((run / "verdict.json").read_text())
        (gates,) = [item["gates"] for item in verdict["candidates"] if item["candidate"] == candidate]
        (gate,) = [gate for gate in gates if gate["requirement"] == requirement]
        (record,) = [each for each in records if each["seq"] == gate["seq"]]
        return record, gate["judgement"]

    def set_up(self):
        """User, fallback that runs, its backup with a second copy, and both candidates' units, rendered by the suite."""
        self.write_texts()
        self.container.ask("useradd", "--system", "--create-home", "llama")
        self.write("/etc/llama/legacy.env", f"PORT={FALLBACK_PORT}\n")
        self.write(f"{UNITS}/{FALLBACK}", LEGACY)
        self.write(f"{UNITS}/{FALLBACK}.d/10-owner.conf", OVERRIDE)
        self.systemctl("daemon-reload")
        self.systemctl("start", FALLBACK)
        self.write_host()
        self.container.path("/srv/backups").mkdir()
        done = self.readiness("backup", "/srv/backups")
        assert done.returncode == 0, done.stdout
        (backup,) = self.container.path("/srv/backups").iterdir()
        self.container.ask("cp", "-a", f"/srv/backups/{backup.name}", "/srv/copy")
        self.write_host(backup=f"/srv/backups/{backup.name}", copy="/srv/copy")
        self.install_rendered()

    def write_texts(self):
        """Two short texts: the shipped marker, and the same once more under the name of a longer one."""
        marker = (ROOT / "prompts/coherence/zh_marker.toml").read_text(encoding="utf-8")
        (self.bind / "texts").mkdir()
        for name in ("zh_marker", "repeat_line"):
            (self.bind / "texts" / f"{name}.toml").write_text(marker.replace('id = "zh_marker"', f'id = "{name}"'), encoding="utf-8")

    def install_rendered(self):
        """Both candidates' units as the suite renders them, installed by the owner."""
        rendered = self.bind / "rendered"
        rendered.mkdir()
        done = self.readiness("render-units", str(rendered))
        assert done.returncode == 0, done.stdout
        for unit in (GOOD, OTHER):
            self.write(f"{UNITS}/{unit}", (rendered / unit).read_text())
        self.systemctl("daemon-reload")
