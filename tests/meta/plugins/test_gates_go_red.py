"""Planted faults on a real server: an engine that silently does something else than it was asked turns its gate red."""

import json

import pytest
from support import child_session
from support.child_session import NGRAM, Model
from support.launcher import Faults

from fixtures.models.twins import ensure_twin
from fixtures.models.twins.scripts import shipped_scripts

pytestmark = [pytest.mark.runtime, pytest.mark.long]

MTP = "mtp_block = 3"
SILENT = dict.fromkeys(("--spec-type", "--spec-ngram-mod-n-match", "--spec-ngram-mod-n-min", "--spec-ngram-mod-n-max"))


def run(folder, port, markers, models, faults, lanes=None):
    """A session over `models`, of which `good` alone passes: its output, and the reason of each judgement by candidate and requirement.

    The engine has other flags for the candidates in `faults`; their test port tells it whose launch it is.
    """
    planted = [Faults(only=f"--port {port + 1 + [*models].index(model)}", flags=flags) for model, flags in faults.items()]
    engine = child_session.faulty_engine(folder / "engine", *planted)
    host = child_session.write_host(folder, port=port, recipe="path", engine=engine, models=models)
    text = host.read_text()
    for model, lane in (lanes or {}).items():
        text = text.replace(f'model = "{model}"\nlane = "q8"', f'model = "{model}"\nlane = "{lane}"')
    host.write_text(text)
    session = child_session.start(host, folder / "reports", "-m", markers)
    assert session.wait() == 1, session.output
    assert "Traceback" not in session.output
    assert "FAIL: good-q8" not in session.output
    verdict = json.loads((session.folder / "verdict.json").read_text())
    return session.output, {(c["candidate"], g["requirement"]): g["judgement"]["reason"] for c in verdict["candidates"] for g in c["gates"]}


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """The gates of sizes and units, where an engine takes other types or a smaller context than it was asked for."""
    faults = {
        "other-k": {"-ctk": "q4_0"},
        "swapped": {"-ctk": "q4_0", "-ctv": "q8_0"},
        "shorter": {"-c": "1024"},
    }
    models = dict.fromkeys(("good", *faults), Model())
    return run(tmp_path_factory.mktemp("sizes"), 18500, "kv or deploy", models, faults, {"swapped": "q8q4"})


def test_another_k_type_than_asked_fails_kv_and_the_unit_check(sizes):
    output, reasons = sizes
    assert "FAIL: other-k-q8 KV-1" in output
    said = "K was asked as q8_0 (8.5 bits per weight) and takes 4.5; the log calls it q4_0; allocated K is"
    assert said in reasons["other-k-q8", "KV-1"]
    assert "FAIL: other-k-q8 DEP-2" in output
    assert "the unit has -ctk q8_0, tested was -ctk q4_0" in reasons["other-k-q8", "DEP-2"]


def test_swapped_types_fail_kv_though_the_bytes_in_all_are_right(sizes):
    output, reasons = sizes
    assert "FAIL: swapped-q8 KV-1" in output
    assert "K was asked as q8_0 (8.5 bits per weight) and takes 4.5; the log calls it q4_0" in reasons["swapped-q8", "KV-1"]
    assert "V was asked as q4_0 (4.5 bits per weight) and takes 8.5; the log calls it q8_0" in reasons["swapped-q8", "KV-1"]


def test_a_smaller_context_than_asked_fails_kv(sizes):
    assert "FAIL: shorter-q8 KV-1" in sizes[0]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The gates of texts and speed, where speculation is off or half of it is, and where a model says something else."""
    scripts = tuple(
        script.model_copy(update={"answer": script.answer.replace("繁體中文", "簡體中文")}) if "驗收標記" in script.answer else script
        for script in shipped_scripts()
    )
    models = {
        "good": Model(),
        "undrafted": Model(),
        "half-drafted": Model(twin_files(ensure_twin("twin42", "scripted")), f"{MTP}, {NGRAM}"),
        "wrong": Model(twin_files(ensure_twin("twin42", "scripted", scripts=scripts)), MTP),
    }
    faults = {"undrafted": SILENT, "half-drafted": {"--spec-type": "draft-mtp"}}
    return run(tmp_path_factory.mktemp("answers"), 18850, "coherence or tps", models, faults)


def twin_files(twin):
    return f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{twin.drafter}" }}'


def test_speculation_that_is_silently_off_fails_coherence_and_acceptance(answers):
    output, reasons = answers
    assert "FAIL: undrafted-q8 COH-1 zh_marker" in output
    assert "no draft timings in the answer: speculation is not effective" in reasons["undrafted-q8", "COH-1"]
    assert "FAIL: undrafted-q8 TPS-2" in output
    assert "nothing was drafted" in reasons["undrafted-q8", "TPS-2"]


def test_a_dead_drafter_behind_a_live_one_fails(answers):
    """Both were asked for and the answers draft; the log says that one of them did nothing."""
    output, reasons = answers
    assert "FAIL: half-drafted-q8 TPS-3" in output
    assert "ngram-mod drafted 0 tokens and had 0 accepted" in reasons["half-drafted-q8", "TPS-3"]
    assert "FAIL: half-drafted-q8 TPS-2" not in output


def test_a_wrong_answer_fails_coherence_and_shows_where(answers):
    output, _ = answers
    assert "FAIL: wrong-q8 COH-1 zh_marker" in output
    assert "簡體中文" in output
