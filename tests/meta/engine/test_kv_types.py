"""What a KV type weighs is learnt from the engine, kept with its identity, and held against the lane."""

import pytest
from support import child_session
from support.launches import subject_of

from fixtures.catalog.load import load_host, load_lanes, load_requirements
from fixtures.catalog.missing import missing_keys
from fixtures.catalog.requirement import Arm
from fixtures.engine.dialect import probe_dialect, recorded_dialect
from fixtures.engine.dialects import load_families
from fixtures.engine.kv_types import TypeSize, TypeSizes, bits_per_weight, resolution_bpw
from fixtures.engine.lanes import LaneUnavailable, lane_type_names, resolve_lane
from fixtures.engine.slot import HostSlot
from fixtures.engine.type_probe import learn_lane, learn_type
from fixtures.measure.audit.engine import capabilities
from fixtures.models.kv_size import BPW
from fixtures.records.base import utc_now
from llama_build import EngineRequest, build_engine

LANES = load_lanes()
ENGINE = "0c1e57098bba:1111222233334444"


@pytest.fixture(autouse=True)
def own_sizes(tmp_path, monkeypatch):
    """A cache of this test's own for learnt sizes; engines and models stay where they are."""
    monkeypatch.setattr("fixtures.engine.kv_types.cache_root", lambda: tmp_path / "cache")


def size(name="turbo3", k_bpw=3.125, v_bpw=3.125):
    return TypeSize(
        name=name, k_bpw=k_bpw, v_bpw=v_bpw, resolution_bpw=0.00125, k_mib=12.5, v_mib=12.5, cells=16384, log="x.log", learnt=utc_now()
    )


# -- from MiB to bits


@pytest.mark.parametrize("bpw", [3.0625, 3.125, 3.25, 3.28125, 3.5, 4.125, 4.25, 4.5, 8.5, 16.0])
def test_what_the_log_prints_gives_the_exact_size(bpw):
    assert bits_per_weight(float(f"{4 * bpw:.2f}"), 4.0) == bpw


def test_what_fits_no_block_stays_as_it_is():
    """Part of a cache in another type: neither of both sizes, and not rounded to one."""
    assert bits_per_weight(4 * 3.141, 4.0) == 3.141
    assert resolution_bpw(4.0) == pytest.approx(0.00125, abs=1e-6)


# -- the cache


def test_a_size_is_kept_with_its_engine_and_its_variables():
    TypeSizes(ENGINE, {"PURE": "1"}, fresh=False).keep(size())
    assert TypeSizes(ENGINE, {"PURE": "1"}, fresh=False).agreed() == {"turbo3": 3.125}
    assert TypeSizes(ENGINE, {}, fresh=False).get("turbo3") is None
    assert TypeSizes("0c1e57098bba:another", {"PURE": "1"}, fresh=False).get("turbo3") is None


def test_a_fresh_session_learns_again_and_keeps_the_others(tmp_path):
    TypeSizes(ENGINE, {}, fresh=False).keep(size("turbo3"))
    fresh = TypeSizes(ENGINE, {}, fresh=True)
    assert fresh.get("turbo3") is None
    fresh.keep(size("turbo4", 4.25, 4.25))
    assert TypeSizes(ENGINE, {}, fresh=False).agreed() == {"turbo3": 3.125, "turbo4": 4.25}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"engine": "other", "env": {}}'])
def test_a_damaged_cache_is_started_anew(tmp_path, damage):
    TypeSizes(ENGINE, {}, fresh=False).keep(size())
    (file,) = (tmp_path / "cache" / "kv-types").glob("*.json")
    file.write_bytes(damage)
    sizes = TypeSizes(ENGINE, {}, fresh=False)
    assert sizes.agreed() == {}
    sizes.keep(size())
    assert TypeSizes(ENGINE, {}, fresh=False).agreed() == {"turbo3": 3.125}


def test_a_type_whose_k_and_v_differ_has_no_size():
    sizes = TypeSizes(ENGINE, {}, fresh=False)
    sizes.keep(size(k_bpw=8.5))
    assert sizes.agreed() == {}


# -- which type a lane means


def test_a_lane_is_looked_for_by_size_then_by_name():
    assert lane_type_names("k3v4", LANES, recorded_dialect("tbq-patch")) == ("tbq3_0", "tbq4_0")
    assert lane_type_names("k3v4", LANES, recorded_dialect("buun")) == ("turbo3", "turbo4"), "of another size: to be learnt and refused"
    assert lane_type_names("q8q4", LANES, recorded_dialect("upstream")) == ("q8_0", "q4_0")


def test_an_engine_without_such_a_name_is_unavailable():
    with pytest.raises(LaneUnavailable, match=r"none of turbo3, tbq3_0, tbq3 is among its KV types"):
        lane_type_names("k3v3", LANES, recorded_dialect("upstream"))


def test_a_learnt_size_makes_the_lane_of_an_unknown_fork_resolve():
    unknown = recorded_dialect("buun").model_copy(update={"family": "unknown", "kv_bpw": {}})
    with pytest.raises(LaneUnavailable, match=r"What it weighs is not known yet: `pytest --fresh -m kv` launches it and learns"):
        resolve_lane("k3v3", LANES, unknown)
    learnt = unknown.model_copy(update={"kv_bpw": {"turbo3": 3.125}})
    assert resolve_lane("k3v3", LANES, learnt).k_type == "turbo3"


# -- what it asks of the host


@pytest.mark.runtime
def test_a_fork_that_nobody_knew_works_on_its_first_run(tmp_path, monkeypatch):
    """Our own engine, with its family forgotten: its types are learnt before a lane is resolved, and the audit blocks nothing before."""
    known = load_families()
    strangers = known.model_copy(update={"family": tuple(each for each in known.family if each.id != "tbq-patch")})
    monkeypatch.setattr("fixtures.engine.dialect.load_families", lambda: strangers)
    host = load_host("local", bare=True)
    with HostSlot(lambda _: None) as slot:
        subject = subject_of(host, host.candidate("gemma3-270m-k3v4"), slot, tmp_path)
        assert subject.engine.dialect.family == "unknown"
        assert subject.engine.unsized_types(subject.candidate) == ("tbq3_0", "tbq4_0")
        with pytest.raises(LaneUnavailable, match="What it weighs is not known yet"):
            subject.prepared_as(Arm.PRODUCTION)
        row = capabilities(subject).raw["rows"][0]
        assert (row["state"], row["facts"]["k_type"]) == ("note", "tbq3_0")
        assert "What tbq3_0, tbq4_0 weighs in this engine is not known yet" in row["problem"]
        learn_lane(subject)
        assert subject.engine.unsized_types(subject.candidate) == ()
        types = subject.prepared_as(Arm.PRODUCTION).types
        assert (types.k_type, types.k_bpw, types.v_type, types.v_bpw) == ("tbq3_0", 3.125, "tbq4_0", 4.25)
        learn_lane(subject)  # launches nothing again: the slot would refuse


def test_learning_needs_the_engine_and_the_guard_but_no_model(monkeypatch, tmp_path):
    dgx = load_host("dgx", bare=True)
    (kv3,) = [requirement for requirement in load_requirements() if requirement.id == "KV-3"]
    assert missing_keys(dgx, dgx.candidate("31b-k3v4"), kv3) == (
        "guard.lock",
        "guard.competing",
        "engine.recipe",
        "engine.path",
        "engine.commit",
    )
    assert "engine.pure_mode_env" in missing_keys(dgx, dgx.candidate("31b-k3v3"), kv3)


# -- on a real engine


@pytest.mark.runtime
@pytest.mark.parametrize("name", [name for name in BPW if name != "f32"])
def test_upstream_types_weigh_what_their_blocks_say(name, tmp_path):
    host = load_host("local", bare=True)
    candidate = host.candidate("smollm2-135m-q8")
    with HostSlot(lambda _: None) as slot:
        subject = subject_of(host, candidate, slot, tmp_path, Arm.MICRO)
        learnt = learn_type(subject, name)
        assert (learnt.k_bpw, learnt.v_bpw) == (BPW[name], BPW[name])
        again = subject_of(host, candidate, slot, tmp_path, Arm.MICRO)
        assert learn_type(again, name) == learnt, "kept: a second launch of the same key would be refused"


def forged_engine(folder, help_edit, arguments_edit):
    """The real engine behind a script that edits what `--help` says and which arguments (one a line) arrive."""
    folder.mkdir()
    script = folder / "llama-server"
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    probes = f'*--help*) $ENGINE --help | sed -e "{help_edit}"; exit;; *--version*) exec $ENGINE "$@";;'
    edited = f'set -- $(printf "%s\\n" "$@" | sed -e "{arguments_edit}")'
    script.write_text(f'#!/bin/sh\nENGINE={server}\ncase "$*" in {probes} esac\n{edited}\nexec $ENGINE "$@"\n')
    script.chmod(0o755)
    return folder


FAKE_HELP = "s/allowed values: f32, /allowed values: turbo3, f32, /;s/, tbq[34]_0//g"  # a fork has its own types, not ours


@pytest.mark.runtime
@pytest.mark.long
def test_a_turbo3_of_another_size_fails_with_both_numbers(tmp_path):
    """An unknown fork has a `turbo3` that packs like another type: the lane declares 3.125 bits, and the gate says both."""
    folder = forged_engine(tmp_path / "engine", FAKE_HELP, "/^-ct[kv]$/{n;s/turbo3/q4_0/}")
    assert "turbo3" in probe_dialect(folder / "llama-server").kv_types
    host = child_session.write_host(tmp_path, port=18580, recipe="path", engine=f'path = "{folder}"\ncommit = "0c1e57098bba"')
    host.write_text(host.read_text().replace('lane = "q8"', 'lane = "k3v3"', 1))
    session = child_session.start(host, tmp_path / "reports", "-m", "kv", "--fresh")
    assert session.wait() == 1, session.output
    said = "K type turbo3 of this engine is 4.5 bits per weight, must be exactly 3.125 ± 0.00125 bits per weight"
    assert f"FAIL: good-q8 KV-3 (The lane's types have their declared size): {said}" in session.output
    assert "its turbo3 has 4.5" in session.record("KV-1", "good-q8")["reason"], "the learnt size also keeps the lane from being launched"
    assert "FAIL: other-q8" not in session.output


@pytest.mark.runtime
@pytest.mark.long
def test_a_type_that_is_replaced_for_k_alone_fails(tmp_path):
    """As forks do when K and V have the same type: K silently becomes q8_0."""
    folder = forged_engine(tmp_path / "engine", "", "/^-ctk$/{n;s/q4_0/q8_0/}")
    host = child_session.write_host(tmp_path, port=18585, recipe="path", engine=f'path = "{folder}"\ncommit = "0c1e57098bba"')
    host.write_text(host.read_text().replace('lane = "q8"', 'lane = "q4"', 1))
    session = child_session.start(host, tmp_path / "reports", "-m", "kv", "--fresh")
    assert session.wait() == 1, session.output
    assert "K type q4_0 of this engine is 8.5 bits per weight, must be exactly 4.5" in session.output
    assert "K was asked as q4_0 (4.5 bits per weight) and takes 8.5; the log calls it q8_0" in session.output, "KV-1 sees it as well"
