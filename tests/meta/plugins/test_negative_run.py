"""Negative candidates on real servers: one that is bad is expected to fail, one that is good shows a gate that sees nothing."""

import json

import pytest
from support import child_session
from support.child_session import Model

from fixtures.models.twins import ensure_twin
from fixtures.models.twins.scripts import shipped_scripts

pytestmark = [pytest.mark.runtime, pytest.mark.long]

BAD = 'role = "negative"\nmust_fail = { COH-1 = "text check failed" }'


def run(folder, port, models, bad):
    """Exit status, verdict and output of a sign-off over the coherence gates; the models in `bad` are negative."""
    host = child_session.write_host(folder, port=port, models=models)
    text = host.read_text()
    for model in bad:
        at = text.index(f'id = "{model}-q8"')
        entry = text[at:].replace('role = "standin"', BAD, 1)
        unit, exempt = entry.index("unit = "), entry.index("[candidates.exempt]")
        entry = entry[:unit] + entry[entry.index("\n", unit) + 1 : exempt] + entry[entry.index("[candidates.limits]") :]
        text = (text[:at] + entry).replace(f'{model} = "{model}-q8"\n', "").replace(f', "{model}"', "")
    host.write_text(text)
    session = child_session.start(host, folder / "reports", "-m", "coherence")
    status = session.wait()
    assert "Traceback" not in session.output, session.output
    verdict = json.loads((session.folder / "verdict.json").read_text())
    return status, verdict, session.output


@pytest.fixture(scope="module")
def wrong():
    scripts = tuple(script.model_copy(update={"answer": script.answer.replace("繁體中文", "簡體中文")}) for script in shipped_scripts())
    twin = ensure_twin("twin42", "scripted", scripts=scripts)
    files = f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{twin.drafter}" }}'
    return Model(files, "mtp_block = 3")


def test_a_lane_that_must_fail_and_does_changes_no_exit_status(tmp_path, wrong):
    status, verdict, output = run(tmp_path, 18970, {"good": Model(), "broken": wrong}, ["broken"])
    assert status == 0, output
    (gate,) = next(item["gates"] for item in verdict["candidates"] if item["candidate"] == "broken-q8")
    assert gate["judgement"]["verdict"] == "EXPECTED"
    assert "簡體中文" in gate["judgement"]["reason"]
    assert "1 of bad lanes failed, as they must" in output


def test_a_lane_that_must_fail_and_passes_fails_the_run(tmp_path):
    status, verdict, output = run(tmp_path, 18980, {"good": Model(), "fine": Model()}, ["fine"])
    assert status == 1, output
    assert "COH-1 sees nothing: fine-q8 must fail it" in verdict["master_reason"]
    assert verdict["master"] == "NOT READY"
    assert "the gate sees nothing: fine-q8 is known to be bad and passes it" in output
