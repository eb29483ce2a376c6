"""A session as users run it: a chosen candidate that has no unit is no READY one. Other units: tests/meta/planted/faults.toml."""

import json

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
    file.write_text(text.replace('AUD-4 = "nothing is installed"\nDEP-6 = "nothing is installed"\n', ""))
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


def status(session, candidate):
    return signed(session, candidate)["signoff"]


def run(host, folder, name, *args):
    session = child_session.start(host, folder / name, *args, "-k", "good and (installed or unit_file or unit_is_valid)")
    return session, session.wait()


def test_a_chosen_candidate_without_a_unit_is_not_ready(tmp_path):
    host = host_with_units(tmp_path)
    text = host.read_text()
    host.write_text(text.replace(f'unit = "{UNIT}"\n', "").replace(f"port = {PORT + 11}\n", ""))
    session, code = run(host, tmp_path, "none", "--signoff")
    assert code == 75
    for requirement in ("DEP-6", "DEP-1", "AUD-4"):
        verdict, reason = judged(session, "good-q8", requirement)
        assert verdict == "BLOCKED"
        assert reason.startswith("no unit: good-q8")
    assert status(session, "good-q8") == "INCOMPLETE"
