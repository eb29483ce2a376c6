"""Sessions over planted faults: a host file with one candidate a fault, and beside them clean ones of every kind of candidate used."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from fixtures.models.registry import ensure_registry_model
from fixtures.models.twins import ensure_twin
from llama_build import EngineRequest, build_engine
from support import child_session
from support.fault_proxy import Rule
from support.launcher import Death, Faults, write_launcher
from support.places import META
from support.planted_verdict import Signed

PROMPTS = META / "data" / "planted_prompts"
NGRAM = "ngram_mod = true, ngram_n_match = 4, ngram_n_min = 2, ngram_n_max = 8"

HOST = """\
schema = 1
id = "{name}"
title = "Host of planted faults"
standin = true
[engine]
{engine}
[launch]
context = 512
threads = 1
{launch}
ready_timeout_s = 60.0
stop_timeout_s = 5.0
request_timeout_s = 120.0
[guard]
lock = "{lock}"
window_s = 0.2
max_foreign_cpu_pct = 100.0
residents = [{{ name = "of whoever shares this machine", model = "*" }}]
reserve_mib = 128.0
[ppl]
corpus = "readiness-bilingual"
chunks = 1
context = 128
[ports]
test = {port}
[coherence]
texts = "{texts}"
[speed]
prompt_set = "{texts}/copy-words.toml"
requests = {requests}
max_requests = 12
seconds = 0
warmup = 0
max_tokens = {max_tokens}
max_cv_pct = 900.0
clock_gap_ms = 5000  # of a machine that is busy with other things
[units]
directory = "{units}"
scope = "user"
[goal]
models = {ids}
[goal.chosen]
{chosen}
"""

CANDIDATE = """
[models.{id}]
title = "{id}"
{files}
api = "{api}"
[[candidates]]
id = "{id}"
title = "{id}"
model = "{id}"
lane = "{lane}"
role = "standin"
speculation = {{ {speculation} }}
port = {service_port}
test_port = {test_port}
unit = "{unit}"
prompts = ["zh_marker"]
{more}
[candidates.exempt]
{exempt}[candidates.limits]
decode_tps = {{ reference = 0.1, kind = "at_least", unit = "t/s", source = "meta test" }}
accept_pct = {{ reference = 0.1, kind = "at_least", unit = "%", source = "meta test" }}
{limits}
"""


MODELS = {
    "smollm2": lambda: ('target = { kind = "registry", model = "smollm2-135m" }', "completion"),
    "twin": lambda: (twin_files(ensure_twin("twin42", "scripted")), "chat"),
}


SPEED = ("TPS-1", "TPS-2", "TPS-3", "TPS-4", "TPS-5")


def twin_files(twin):
    """The `[models]` keys of a written twin."""
    return f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{twin.drafter}" }}'


def server():
    """The real llama-server."""
    return build_engine(EngineRequest.named("pinned+tbq")).server


@dataclass
class Host:
    """A host file of planted candidates; ports, folders and what the rows of its run need are its own."""

    folder: Path
    port: int
    candidates: dict
    recipe: str = "pinned+tbq"
    engine: str = ""
    launch: str = ""
    requests: int = 2
    max_tokens: int = 12
    installed: bool = False
    files: dict = field(default_factory=dict)  # candidate -> (keys of its model, api), where it has files of its own
    names: dict = field(default_factory=dict)  # candidate -> its unit's name
    references: dict = field(default_factory=dict)  # candidate -> its perplexity's reference, where it owes one

    @property
    def file(self):
        return self.folder / f"planted{self.port}.toml"

    @property
    def units(self):
        return self.folder / "units"

    def test_port(self, candidate):
        return self.port + 1 + [*self.candidates].index(candidate)

    def unit(self, candidate):
        """The candidate's unit, by its name."""
        given = self.names.get(candidate, f"{candidate}.service")
        return given.format(port=self.service_port(candidate))

    def service_port(self, candidate):
        return self.test_port(candidate) + 1000

    def write(self):
        """Write the host file; returns itself."""
        self.units.mkdir(exist_ok=True)
        texts = self.folder / "prompts"
        if not texts.exists():
            shutil.copytree(PROMPTS, texts)
        ids, chosen = json.dumps([*self.candidates]), "\n".join(f'{name} = "{name}"' for name in self.candidates)
        text = HOST.format(
            name=self.file.stem, engine=f'recipe = "{self.recipe}"\n{self.engine}', launch=self.launch, lock=self.folder / "run.lock",
            port=self.port, texts=texts, requests=self.requests, max_tokens=self.max_tokens, units=self.units, ids=ids, chosen=chosen,
        )  # fmt: skip
        self.file.write_text(text + "".join(map(self._candidate, self.candidates)), "utf-8")
        return self

    def _candidate(self, name):
        given = self.candidates[name]
        files, api = self.files.get(name) or MODELS[given.get("model", "smollm2")]()
        exempt = child_session.exempt_from(child_session.ASIDE if name in self.references else ("PPL-1", *child_session.ASIDE))
        if not self.installed:
            exempt += child_session.exempt_from(child_session.NOT_INSTALLED, "nothing is installed")
        elif name != "clean":  # what is installed tells no speed, and three quarters of the time go there
            exempt += child_session.exempt_from(SPEED, "not part of this test")
        more = [f"policy = {{ {given['policy']} }}"] if "policy" in given else []
        return CANDIDATE.format(
            id=name, files=files, api=api, lane=given.get("lane", "q8"), speculation=given.get("speculation", NGRAM),
            service_port=self.service_port(name), test_port=self.test_port(name), unit=self.unit(name),
            more="\n".join([*more, *(['speed_prompts = "short-en"'] if api == "chat" else [])]),
            exempt=exempt, limits=self.references.get(name, ""),
        )  # fmt: skip

    def with_launcher(self, rows, base=None, fill=()):
        """Put the launcher before the engine, with what each row says of it; `base` is planted for every candidate.

        `fill`: what stands for {names} in the values of flags.
        """
        base = base or Faults()
        planted = [launcher_faults(row, f"--port {self.test_port(row.id)}", base, dict(fill)) for row in rows if row.launcher]
        self.recipe, self.engine = "path", write_launcher(self.folder / "engine", server(), *planted, base)
        return self

    def run(self, *args, name="reports", env=None, status=(1, 75)):
        """A whole session, signed off; what it found."""
        session = child_session.start(self.file, self.folder / name, *args, env=env)
        code = session.wait()
        assert code in status, session.output
        assert "Traceback" not in session.output, session.output
        assert "INTERNALERROR" not in session.output, session.output
        return Signed(session)


def launcher_faults(row, only, base, fill):
    """The launcher's faults of a row, on top of `base`."""
    given = dict(row.launcher)
    for table in given.keys() & {"flags", "env"}:
        given[table] = {name: value.format(**fill) if value else value for name, value in without_nothing(given[table]).items()}
    rule, die = given.pop("rule", None), given.pop("die", None)
    if rule:
        rule = Rule(**rule | {"values": without_nothing(rule.get("values", {}))})
    given["log"] = (*(() if given.pop("plain", False) else base.log), *map(tuple, given.get("log", ())))
    return Faults(only=only, rule=rule, die=Death(**die) if die else None, **given)


def without_nothing(table):
    """The table with None for "nothing", for which TOML has no word."""
    return {name: None if value == "nothing" else value for name, value in table.items()}


def model():
    """The small real model."""
    return ensure_registry_model("smollm2-135m")


def gpu_that_lists(folder, told):
    """The environment of a session whose NVML is support/nvml_stub.py: `told` is MiB by test port, None where it lists no process."""
    stub = folder / "stub"
    stub.mkdir()
    shutil.copy(META / "support" / "nvml_stub.py", stub / "pynvml.py")
    (folder / "nvml.json").write_text(json.dumps(told))
    return {"PYTHONPATH": str(stub), "META_NVML": str(folder / "nvml.json")}
