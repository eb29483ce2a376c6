"""DEP-8 and DEP-7 as they are measured, with the real systemd-analyze, and judged: what lies in the unit folder, drop-ins included."""

import os
import shutil

import pytest
from support.evidence_samples import evidence, judged
from support.installed_units import PORT, UNIT
from support.launches import subject_of

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.deploy.errors import DeployError
from fixtures.measure import hardening as hardened
from fixtures.measure.hardening import hardening
from fixtures.measure.verified import installed_validity
from fixtures.records.verdict import Verdict

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"),
]

HOST = load_host("local", bare=True)
CANDIDATE = HOST.candidate("twin42-q8").model_copy(update={"unit": UNIT, "port": PORT, "exempt": {}})


def host_of(bench, **units):
    return HOST.model_copy(update={"units": Units(directory=str(bench.units), scope="user", **units)})


def subject(host, folder):
    return subject_of(host, CANDIDATE, None, folder, Arm.NONE, may_run="nothing may be built in this test")


def verdict(requirement, observation, host=HOST):
    record = evidence(requirement, CANDIDATE.id, observation.measured, raw=observation.raw)
    return judged(record, CANDIDATE, host)


@pytest.fixture
def prove(bench, tmp_path):
    def proven():
        found = installed_validity(subject(host_of(bench), tmp_path))
        return found, verdict("DEP-8", found)

    return proven


def test_a_sound_unit_passes_with_its_exposure(bench, prove):
    bench.install(bench.line())
    found, judgement = prove()
    assert judgement.verdict is Verdict.PASS, judgement
    assert 9 < found.measured["exposure"] <= 10
    assert found.raw["files"] == [str(bench.units / UNIT)]
    assert found.raw["systemd"].startswith("systemd ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Restart=on-failures", "81-x.conf:2: Failed to parse service restart specifier"),
        ("NoNewPrivilege=yes", "81-x.conf:2: Unknown key"),
        ("Environment=A=\\q", "81-x.conf:2: Invalid syntax"),
        ("ExecStart=/bin/true", "has more than one ExecStart="),
    ],
)
def test_what_a_dropin_says_wrongly_fails_with_the_line(bench, prove, text, said):
    bench.install(bench.line())
    bench.dropin(text)
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert said in judgement.reason


def test_a_typo_that_leaves_the_exit_status_alone_fails(bench, prove):
    bench.install(bench.line())
    (bench.units / UNIT).chmod(0o755)
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert "marked executable" in judgement.reason


def test_a_missing_program_fails(bench, prove):
    bench.install(bench.line())
    bench.program.unlink()
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert f"{bench.program}, which the unit starts, is not there ({bench.units / UNIT}:4)" in judgement.reason


@pytest.mark.parametrize("wrapper", ['/bin/sh -c "exec {} --port 1"', "/usr/bin/env A=1 {} --port 1"])
def test_a_missing_program_behind_a_wrapper_fails(bench, prove, wrapper):
    """systemd-analyze looks at the wrapper only, and is content."""
    bench.install(wrapper.format(bench.program))
    bench.program.unlink()
    found, judgement = prove()
    assert found.raw["stderr"] == []
    assert judgement.verdict is Verdict.FAIL
    assert "is not there" in judgement.reason


def test_a_program_that_is_not_executable_fails(bench, prove):
    bench.install(f"/usr/bin/env {bench.program} --port {PORT}")
    bench.program.chmod(0o644)
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert "is not executable" in judgement.reason


def test_a_script_that_cannot_be_followed_is_the_program(bench, prove):
    """What it starts is for the gate that compares commands to tell; that it is there can be seen."""
    bench.install(str(bench.script("start.sh", "#!/bin/sh\nwhile true; do llama-server; done\n")))
    _, judgement = prove()
    assert judgement.verdict is Verdict.PASS


def test_a_port_that_the_fallback_asks_for_fails_with_the_line(bench, prove):
    bench.install(bench.line())
    (bench.units / "fallback.service").write_text(f"[Service]\nExecStart={bench.program} --port {PORT}\n")
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert f"fallback.service asks for port {PORT}, too ({bench.units}/fallback.service:2)" in judgement.reason


def test_faults_of_other_units_are_theirs(bench, prove):
    bench.install(bench.line(), extra="")
    (bench.units / "other.service").write_text("[Service]\nBogus=1\nExecStart=/nope\n")
    (bench.units / f"{UNIT}.d").mkdir()
    (bench.units / f"{UNIT}.d" / "wants.conf").write_text("[Unit]\nWants=other.service\nAfter=other.service network-online.target\n")
    _, judgement = prove()
    assert judgement.verdict is Verdict.PASS, judgement.reason


def test_a_masked_unit_fails(bench, prove):
    (bench.units / UNIT).symlink_to(os.devnull)
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert "masked" in judgement.reason


def test_a_unit_that_is_not_there_is_blocked(bench, tmp_path):
    with pytest.raises(DeployError, match=f"unit {bench.units / UNIT} is not there"):
        installed_validity(subject(host_of(bench), tmp_path))


def test_a_unit_that_cannot_be_read_is_blocked(bench, tmp_path):
    (bench.units / UNIT).mkdir()
    with pytest.raises(DeployError, match="cannot be read"):
        installed_validity(subject(host_of(bench), tmp_path))


# -- hardening


def locked_in(bench, tmp_path, monkeypatch, gpu=True, **units):
    """DEP-7 of a rendered unit that runs the bench's command, and of what is installed."""
    host = host_of(bench, **units)
    launch = host.launch.model_copy(update={"gpu_layers": 99 if gpu else None})
    host = host.model_copy(update={"launch": launch})
    text = f"[Service]\nNoNewPrivileges=yes\nExecStart={bench.line()}\n"
    monkeypatch.setattr(hardened, "rendered_unit", lambda _: text)
    found = hardening(subject(host, tmp_path))
    return found, verdict("DEP-7", found, host)


def test_without_a_limit_the_exposure_is_told(bench, tmp_path, monkeypatch):
    found, judgement = locked_in(bench, tmp_path, monkeypatch)
    assert judgement.verdict is Verdict.PASS
    assert found.measured["installed_exposure"] is None
    assert "no installed unit was seen; nobody set a limit (`units.max_exposure`)" in judgement.reason
    assert judgement.measured == found.measured["rendered_exposure"]


def test_the_more_exposed_of_both_units_is_held_against_the_limit(bench, tmp_path, monkeypatch):
    bench.install(bench.line())
    found, _ = locked_in(bench, tmp_path, monkeypatch)
    rendered, installed = found.measured["rendered_exposure"], found.measured["installed_exposure"]
    assert rendered < installed
    between = (rendered + installed) / 2
    _, judgement = locked_in(bench, tmp_path, monkeypatch, max_exposure=between)
    assert judgement.verdict is Verdict.FAIL
    assert f"{installed:g} as installed; `units.max_exposure` allows {between:g}" in judgement.reason
    assert judgement.margin == pytest.approx(between - installed)
    _, judgement = locked_in(bench, tmp_path, monkeypatch, max_exposure=10.0)
    assert judgement.verdict is Verdict.PASS
    assert judgement.limit == 10.0


def test_an_installed_unit_that_hides_the_gpu_fails_where_there_is_one(bench, tmp_path, monkeypatch):
    bench.install(bench.line())
    bench.dropin("PrivateDevices=yes")
    _, judgement = locked_in(bench, tmp_path, monkeypatch)
    assert judgement.verdict is Verdict.FAIL
    assert f"installed: PrivateDevices=yes ({bench.units}/{UNIT}.d/81-x.conf:2) hides the GPU" in judgement.reason
    found, judgement = locked_in(bench, tmp_path, monkeypatch, gpu=False)
    assert judgement.verdict is Verdict.PASS
    assert found.measured["hiding"] == 1
