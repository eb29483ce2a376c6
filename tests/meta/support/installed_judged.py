"""The installed unit of a bench as DEP-6 and AUD-4 measure and judge it, and processes that are another user's."""

from pathlib import Path

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.deploy import installed as deployed
from fixtures.deploy.manager import Asked, loaded_of
from fixtures.records.blocked import Blocked
from support.evidence_samples import evidence, judged
from support.installed_units import UNIT
from support.launches import subject_of

HOST = load_host("local", bare=True)
CANDIDATE = HOST.candidate("twin42-q8").model_copy(update={"unit": UNIT, "port": 18795, "exempt": {}})


class FakeEngine:
    """Says where the engine is; nothing is built."""

    def __init__(self, server):
        self.built = type("Built", (), {"server": server})

    def find(self):
        raise Blocked("this one cannot be asked for its help")


def subject(bench, candidate=CANDIDATE):
    host = HOST.model_copy(update={"units": Units(directory=str(bench.units), scope="user")})
    made = subject_of(host, candidate, None, Path("unused"), Arm.NONE, may_run="nothing may be built in this test")
    object.__setattr__(made, "engine", FakeEngine(bench.program))
    return made


def verdict(requirement, observation, candidate=CANDIDATE):
    record = evidence(
        requirement, candidate.id, observation.measured, raw=observation.raw, status=observation.status, reason=observation.reason
    )
    return judged(record, candidate, HOST)


def loaded(bench, **changes):
    told = loaded_of(f"LoadState=loaded\nFragmentPath={bench.units / UNIT}\nNeedDaemonReload=no\nActiveState=inactive\nMainPID=0")
    return Asked(loaded=told.model_copy(update=changes), environment={"LANG": "C.UTF-8", "PATH": "/usr/bin"})


def hide_variables(monkeypatch):
    """Processes are another user's: their variables cannot be read. What is put in by its name is read in place of a file of /proc."""
    real, told = deployed.read_foreign, {}

    def hidden(path, limit):
        if path.name == "environ":
            raise PermissionError(13, "Permission denied")
        return told.get(path.name) or real(path, limit)

    monkeypatch.setattr(deployed, "read_foreign", hidden)
    return told
