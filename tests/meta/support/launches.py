"""Launches and subjects of a host as meta tests need them: no session, no guard, nothing told."""

import shlex
from pathlib import Path

from fixtures.catalog.load import load_lanes
from fixtures.catalog.requirement import Arm
from fixtures.engine.host_engine import HostEngine
from fixtures.engine.memory import Memory
from fixtures.engine.prepared import Prepared, arm_types
from fixtures.engine.subject import Subject
from fixtures.models.host_models import HostModels

SERVER, TARGET, DRAFTER = Path("/e/llama-server"), Path("/m/t.gguf"), Path("/m/d.gguf")


def quiet(line):
    """Progress that nobody reads."""


def engine_of(host, may_run=None):
    """The host's engine; `may_run` is the reason why none may be built."""
    return HostEngine(host, load_lanes(), quiet, lambda: may_run)


def subject_of(host, candidate, slot, logs, arm=Arm.PRODUCTION, may_run=None):
    """The candidate with models and engine of its own."""
    return Subject(host, candidate, arm, HostModels(host, quiet), engine_of(host, may_run), slot, logs, Memory(), quiet)


def prepared(host, candidate, dialect, arm=Arm.PRODUCTION, *, server=SERVER, target=TARGET, drafter=DRAFTER):
    """The launch in an engine of that dialect, with files that need not be there. Raises LaneUnavailable."""
    types = arm_types(candidate, arm, dialect, load_lanes())
    return Prepared(host=host, candidate=candidate, arm=arm, server=server, dialect=dialect, types=types, target=target, drafter=drafter)


def render_command(command):
    """The command as a shell would read it. Its environment is not part of it."""
    return shlex.join(command.argv)
