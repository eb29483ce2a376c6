"""The first, cold sign-off: the engine is built before the first gate, so that none finds it missing."""

from types import SimpleNamespace

import pytest

from fixtures.catalog.load import load_host, load_lanes
from fixtures.engine import host_engine
from fixtures.engine.host_engine import HostEngine
from fixtures.evidence.obtain import Reuse
from fixtures.plugins.session import build_first
from fixtures.records.blocked import Blocked


@pytest.fixture
def cold(monkeypatch):
    """An engine that is not there until it is built; what was built."""
    built = []
    monkeypatch.setattr(host_engine, "find_engine", lambda request: built[-1] if built else None)
    monkeypatch.setattr(host_engine, "build_engine", lambda request, progress: built.append(request) or request)
    return built


def engine(may_run=lambda: None):
    return HostEngine(load_host("local", bare=True), load_lanes(), lambda line: None, may_run)


def state(**changes):
    return SimpleNamespace(**{"signoff": True, "attach": None, "reuse": Reuse.MATCHING} | changes)


def test_a_sign_off_builds_it_and_the_audit_then_finds_it(cold):
    ours = engine()
    with pytest.raises(Blocked, match="is not built yet"):
        ours.find()
    build_first(state(), ours)
    assert len(cold) == 1
    assert ours.find() is cold[0]


@pytest.mark.parametrize("changes", [{"signoff": False}, {"attach": "http://127.0.0.1:1"}, {"reuse": Reuse.LEDGER}])
def test_nothing_else_builds_it_before_a_gate_asks(cold, changes):
    build_first(state(**changes), engine())
    assert cold == []


def test_what_keeps_it_from_being_built_is_for_the_gates_to_tell(cold):
    build_first(state(), engine(lambda: "the lock is held by pid 7"))
    assert cold == []


def test_a_build_that_outlasts_the_window_is_stopped_and_not_begun_again(monkeypatch):
    """Real builds tell their progress every second, and end their compilers when that raises; llama_build/test_llama_build_processes.py."""
    told, ended = [], []
    monkeypatch.setattr(host_engine, "find_engine", lambda request: None)

    def build(request, progress):
        for line in ("compile: 1 of 9", "compile: 2 of 9", "compile: 3 of 9"):
            progress(line)

    monkeypatch.setattr(host_engine, "build_engine", build)

    def over():
        return "the window ended after 45 min" if ended or len(told) == 2 else ""

    ours = HostEngine(load_host("local", bare=True), load_lanes(), told.append, lambda: None, over=over)
    with pytest.raises(Blocked, match="its build was stopped, what it has compiled is kept: the window ended after 45 min"):
        ours.build()
    assert told == ["compile: 1 of 9", "compile: 2 of 9"]
    ended.append(True)
    with pytest.raises(Blocked, match="the engine is not built yet, and building it must wait: the window ended"):
        ours.build()
    assert len(told) == 2, "nothing was begun"
