"""One gate on a real server with a planted fault, judged: no session, no guard, no ledger."""

from contextlib import contextmanager

from fixtures.catalog.load import load_host, load_lanes
from fixtures.engine.host_engine import HostEngine
from fixtures.engine.memory import Memory
from fixtures.engine.slot import HostSlot
from fixtures.evidence.archive import NO_ARCHIVE
from fixtures.evidence.obtain import Obtainer
from fixtures.models.host_models import HostModels
from llama_build import EngineRequest, build_engine
from support.evidence_samples import REQUIREMENTS, judged
from support.free_port import free_port
from support.launcher import write_launcher
from support.launches import quiet


class Planted:
    """A host's engine with its fault. `launches` has one entry for each process that was started."""

    def __init__(self, host, slot, logs, launches):
        self.host, self.launches, self._slot = host, launches, slot
        self.obtainer = Obtainer(
            run="planted",
            host=host,
            models=HostModels(host, quiet),
            engine=HostEngine(host, load_lanes(), quiet, lambda: None),
            slot=slot,
            logs=logs,
            append=lambda evidence: evidence,
            may_run=lambda: None,
            memory=Memory(),
            progress=quiet,
            archive=NO_ARCHIVE,
            failure_of=lambda record, requirement, candidate: "",
        )

    def evidence(self, requirement, candidate, measurement, case=""):
        return self.obtainer.obtain(REQUIREMENTS[requirement], self.host.candidate(candidate), case, measurement)

    def judge(self, requirement, candidate, measurement, case=""):
        """The judgement of the gate."""
        return judged(self.evidence(requirement, candidate, measurement, case), self.host.candidate(candidate), self.host)

    def server(self, candidate, arm):
        """The running server of that arm, launched where it is not."""
        requirement = next(requirement for requirement in REQUIREMENTS.values() if requirement.arm == arm)
        return self.obtainer._subject(requirement, self.host.candidate(candidate), "").server

    @property
    def started(self):
        """(candidate, arm) of every start, in their order."""
        return [(entry.candidate, entry.arm) for entry in self.launches if entry.ended is None]


@contextmanager
def planted(folder, faults=None, *, host="local", over=None, **launch):
    """Host `host`, an id or itself, its engine behind a launcher with `faults`; `launch` replaces keys of `[launch]`, `over` ends all."""
    known = load_host(host, bare=True) if isinstance(host, str) else host
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    engine = known.engine
    if faults is not None:
        write_launcher(folder / "engine", server, faults)
        engine = engine.model_copy(update={"recipe": "path", "path": str(folder / "engine"), "commit": "0c1e57098bba"})
    port = free_port()  # one server at a time, but another worker may run those of the host
    changed = known.model_copy(
        update={
            "engine": engine,
            "launch": known.launch.model_copy(update={"threads_batch": None} | launch),  # another worker has the other core
            "candidates": tuple(candidate.model_copy(update={"test_port": port}) for candidate in known.candidates),
        }
    )
    logs = folder / "logs"
    logs.mkdir()
    launches = []
    with HostSlot(launches.append, over=over) as slot:
        yield Planted(changed, slot, logs, launches)
