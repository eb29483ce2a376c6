"""Sessions as users run them: faults of an installed unit fail their own gates with the line, and a chosen candidate without a unit is
no READY one. Units that start something else: tests/meta/planted/faults.toml."""

import json
import re
import shutil

import pytest
from support import child_session

pytestmark = [pytest.mark.runtime]

PORT = 18630
UNIT = f"meta{PORT}-good.service"


def host_with_units(folder):
    """A host whose candidates are installed in `folder`/units."""
    file = child_session.write_host(folder, port=PORT)
    (folder / "units").mkdir()
    text = file.read_text().replace("~/.config/systemd/user", str(folder / "units"))
    for requirement in ("AUD-4", "DEP-6", "DEP-8"):
        text = text.replace(f'{requirement} = "nothing is installed"\n', "")
    file.write_text(text)
    return file


def signed(session, candidate):
    """The candidate's part of the verdict."""
    verdict = json.loads((session.folder / "verdict.json").read_text())
    (found,) = [each for each in verdict["candidates"] if each["candidate"] == candidate]
    return found


def judged(session, candidate, requirement):
    """(verdict, reason) of a gate."""
    (found,) = [gate["judgement"] for gate in signed(session, candidate)["gates"] if gate["requirement"] == requirement]
    return found["verdict"], found["reason"]


def failing(session):
    """The gates of the unit that fail."""
    return {gate["requirement"] for gate in signed(session, "good-q8")["gates"] if gate["judgement"]["verdict"] == "FAIL"}


def status(session, candidate):
    return signed(session, candidate)["signoff"]


def run(host, folder, name, *args):
    session = child_session.start(host, folder / name, *args, "-k", "good and (installed or unit_file or unit_is_valid or hardening)")
    return session, session.wait()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The host, and the unit as the suite renders it, installed."""
    folder = tmp_path_factory.mktemp("installed")
    host = host_with_units(folder)
    session, _ = run(host, folder, "first")
    assert judged(session, "good-q8", "AUD-4")[0] == "BLOCKED"
    assert judged(session, "good-q8", "DEP-6")[0] == "BLOCKED"
    (folder / "units" / UNIT).write_text(session.record("DEP-1", "good-q8")["raw"]["unit"])
    return folder, host


def test_the_rendered_unit_installed_passes(installed):
    folder, host = installed
    session, _ = run(host, folder, "right")
    assert judged(session, "good-q8", "DEP-6")[0] == "PASS", judged(session, "good-q8", "DEP-6")
    assert judged(session, "good-q8", "AUD-4")[0] == "PASS"
    assert judged(session, "good-q8", "DEP-8")[0] == "PASS", judged(session, "good-q8", "DEP-8")
    verdict, reason = judged(session, "good-q8", "DEP-7")
    assert verdict == "PASS"
    assert re.search(r"as rendered, [0-9.]+ as installed; nobody set a limit", reason)


# what is wrong -> (how the unit's text comes to it, the gates that fail, what each says with which line of the unit)
FAULTS = {
    "typo": (("NoNewPrivileges=", "NoNewPrivilege="), {"DEP-8": "{unit}:{line}: Unknown key"}),
    "missing binary": (("ExecStart=/", "ExecStart=/gone/"), {"DEP-8": "is not there ({unit}:{line})", "DEP-6": "which is not there"}),
    "other KV type": (("-ctk q8_0", "-ctk q4_0"), {"DEP-6": "the unit has -ctk q4_0, tested was q8_0 ({unit}:{line})"}),
    "other port": (("--port 18641", "--port 18650"), {"DEP-6": "serves port 18650", "AUD-4": "serves port 18650 ({unit}:{line})"}),
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_unit_fails_its_own_gate_with_the_line(installed, fault):
    folder, host = installed
    unit = folder / "units" / UNIT
    good, ((old, new), fails) = unit.read_text(), FAULTS[fault]
    assert good.count(old) == 1
    line = good[: good.index(old)].count("\n") + 1
    unit.write_text(good.replace(old, new))
    try:
        session, code = run(host, folder, fault.replace(" ", "-"))
    finally:
        unit.write_text(good)
    assert code == 1
    assert failing(session) == set(fails)
    for requirement, said in fails.items():
        assert said.format(unit=UNIT, line=line) in judged(session, "good-q8", requirement)[1]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_another_installed_unit_of_the_same_port_fails_with_its_line(installed):
    folder, host = installed
    fallback = folder / "units" / "llama-fallback.service"
    fallback.write_text(f"[Service]\nType=exec\nExecStart=/usr/bin/env /opt/old/llama-server -m /m.gguf --port {PORT + 11}\n")
    try:
        session, code = run(host, folder, "clash")
    finally:
        fallback.unlink()
    assert code == 1
    assert failing(session) == {"DEP-8"}
    assert f"llama-fallback.service asks for port {PORT + 11}, too ({fallback.name}:3)" in judged(session, "good-q8", "DEP-8")[1]


def test_a_chosen_candidate_without_a_unit_is_not_ready(tmp_path):
    host = host_with_units(tmp_path)
    text = host.read_text()
    host.write_text(text.replace(f'unit = "{UNIT}"\n', "").replace(f"port = {PORT + 11}\n", ""))
    session, code = run(host, tmp_path, "none", "--signoff")
    assert code == 75
    for requirement in ("DEP-6", "DEP-1", "DEP-8", "AUD-4"):
        verdict, reason = judged(session, "good-q8", requirement)
        assert verdict == "BLOCKED"
        assert reason.startswith("no unit: good-q8")
    assert status(session, "good-q8") == "INCOMPLETE"
