"""A launch is resolved once: problems in the order in which a person mends them, one root for all that mean BLOCKED."""

from pathlib import Path

import pytest
from support.launches import engine_of, quiet

from fixtures.catalog.load import load_host
from fixtures.catalog.model import FileArtefact
from fixtures.catalog.requirement import Arm
from fixtures.deploy.errors import DeployError
from fixtures.engine.command import CommandError, server_command
from fixtures.engine.dialect import DialectError, EngineCannot, recorded_dialect
from fixtures.engine.host_engine import HostEngine
from fixtures.engine.kv_types import TypeSizes
from fixtures.engine.lanes import LaneUnavailable
from fixtures.engine.prepared import prepare
from fixtures.engine.slot import HostSlot
from fixtures.measure.prompts import PromptError
from fixtures.models.errors import ArtefactError
from fixtures.models.host_models import HostModels
from fixtures.models.twins import ensure_twin
from fixtures.records.blocked import Blocked, about
from llama_build import BuiltEngine, Manifest

FAMILY = "upstream"


@pytest.fixture(autouse=True)
def own_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr("fixtures.engine.kv_types.cache_root", lambda: tmp_path / "cache")


def with_target(host, artefact):
    models = {**host.models, "twin42": host.models["twin42"].model_copy(update={"target": artefact})}
    return host.model_copy(update={"models": models})


def with_engine(host, **spec):
    return host.model_copy(update={"engine": host.engine.model_copy(update=spec)})


def with_lane(host, lane):
    return host.candidate("twin42-q8").model_copy(update={"lane": lane})


@pytest.fixture
def probed(monkeypatch):
    """An engine that is there, and says of itself what upstream's does."""
    manifest = Manifest(recipe="path", engine_id="abc", files={"llama-server": "7f" * 32})
    built = BuiltEngine(Path("/nowhere"), Path("/nowhere/llama-server"), None, None, manifest)
    dialect = recorded_dialect(FAMILY)
    monkeypatch.setattr(HostEngine, "built", built)
    monkeypatch.setattr(HostEngine, "dialect", dialect)


def prepared(host, candidate=None, arm=Arm.PRODUCTION):
    return prepare(candidate or host.candidate("twin42-q8"), arm, HostModels(host, quiet), engine_of(host))


def test_the_first_problem_is_told_and_the_key_comes_before_the_file_before_the_engine():
    host = with_engine(load_host("local", bare=True), recipe=None)
    with pytest.raises(
        Blocked,
        match=r"^missing key `models\.twin42\.target\.path`: add `path = .* below `\[models\.twin42\.target\]` in the overlay",
    ):
        prepared(with_target(host, FileArtefact()))
    with pytest.raises(ArtefactError, match=r"^target of twin42: /nowhere/t\.gguf does not exist"):
        prepared(with_target(host, FileArtefact(path="/nowhere/t.gguf")))
    with pytest.raises(Blocked, match=r"^host local names no engine: give `engine\.recipe`"):
        prepared(host)


def test_then_the_lane_then_the_flags(probed):
    host = load_host("local", bare=True)
    nameless = host.model_copy(update={"launch": host.launch.model_copy(update={"context": None})})
    with pytest.raises(LaneUnavailable, match=r"lane k3v3 needs a K type of 3\.125 bits"):
        prepared(nameless, with_lane(host, "k3v3"))
    with pytest.raises(CommandError, match=r"^missing key `launch\.context`"):
        server_command(prepared(nameless), port=1)


def test_a_launch_holds_what_its_arm_is_made_of(probed):
    host = load_host("local", bare=True)
    twin = ensure_twin("twin42", "scripted")
    launch = prepared(host)
    assert (launch.types.k_type, launch.target, launch.drafter, launch.port) == ("q8_0", twin.target, twin.drafter, 18085)
    assert prepared(host, arm=Arm.BASE).types.k_type == "f16"


def test_the_base_arm_needs_no_lane(probed):
    host = load_host("local", bare=True)
    assert prepared(host, with_lane(host, "k3v3"), Arm.BASE).types.v_type == "f16"


def test_what_was_learnt_of_a_type_counts_more_than_what_its_family_declares(probed, monkeypatch):
    host = load_host("local", bare=True)
    monkeypatch.setattr(TypeSizes, "agreed", lambda self: {"q8_0": 9.0})
    with pytest.raises(LaneUnavailable, match="its q8_0 has 9"):
        prepared(host)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"recipe": "path", "path": "/nowhere/engine"}, r"^no engine: .*/nowhere/engine"),
        ({"recipe": "source", "path": None}, r"^no engine: "),
    ],
)
def test_an_engine_that_cannot_be_had_is_blocked_whether_looked_for_or_built(spec, says):
    engine = engine_of(with_engine(load_host("local", bare=True), **spec))
    with pytest.raises(Blocked, match=says):
        engine.find()
    with pytest.raises(Blocked, match=says):
        engine.built  # noqa: B018 - reading it builds


def test_an_engine_is_not_built_while_the_machine_must_be_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = engine_of(load_host("local", bare=True), may_run="somebody measures")
    with pytest.raises(Blocked, match=r"^the engine is not built yet, and building it must wait: somebody measures"):
        engine.built  # noqa: B018 - reading it builds


@pytest.mark.parametrize("kind", [ArtefactError, DeployError, DialectError, EngineCannot, CommandError, LaneUnavailable, PromptError])
def test_whatever_means_blocked_has_one_root_and_keeps_its_kind_where_context_is_added(kind):
    with pytest.raises(kind, match=r"^target of m: gone") as caught, about("target of m"):
        raise kind("gone")
    assert isinstance(caught.value, Blocked)


def test_a_launch_that_was_blocked_stays_so_for_all_gates_of_its_arm():
    """Not "was launched and stopped before": nothing was launched."""

    def plan():
        raise LaneUnavailable("no such lane")

    with HostSlot(lambda launch: None) as slot:
        for _ in range(2):
            with pytest.raises(LaneUnavailable, match="no such lane"):
                slot.server(("c", "production"), plan)
