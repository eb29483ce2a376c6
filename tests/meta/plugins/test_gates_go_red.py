"""Planted faults on a real server: an engine that silently does something else than it was asked turns its gate red."""

import pytest
from support import child_session
from support.launcher import Faults

from fixtures.models.twins import ensure_twin
from fixtures.models.twins.scripts import shipped_scripts

pytestmark = [pytest.mark.runtime, pytest.mark.long]

SILENT = dict.fromkeys(("--spec-type", "--spec-ngram-mod-n-match", "--spec-ngram-mod-n-min", "--spec-ngram-mod-n-max"))


def run(tmp_path, port, flags, markers, lane="q8"):
    """A session whose engine has other `flags` for the candidate `other`; `other` has that lane."""
    config = child_session.faulty_engine(tmp_path / "engine", Faults(only="other.gguf", flags=flags))
    host = child_session.write_host(tmp_path, port=port, recipe="path", engine=config, other=child_session.own_copy(tmp_path))
    good, other = host.read_text().split('id = "other-q8"')
    host.write_text(f'{good}id = "other-q8"{other.replace("q8", lane, 1)}')
    session = child_session.start(host, tmp_path / "reports", "-m", markers)
    assert session.wait() == 1, session.output
    assert "Traceback" not in session.output
    return session.output


def test_another_k_type_than_asked_fails_kv_and_the_unit_check(tmp_path):
    output = run(tmp_path, 18500, {"-ctk": "q4_0"}, "kv or deploy")
    assert "FAIL: other-q8 KV-1" in output
    assert "K was asked as q8_0 (8.5 bits per weight) and takes 4.5; the log calls it q4_0; allocated K is" in output
    assert "FAIL: other-q8 DEP-2" in output
    assert "the unit has -ctk q8_0, tested was -ctk q4_0" in output
    assert "FAIL: good-q8" not in output


def test_swapped_types_fail_kv_though_the_bytes_in_all_are_right(tmp_path):
    output = run(tmp_path, 18590, {"-ctk": "q4_0", "-ctv": "q8_0"}, "kv", lane="q8q4")
    assert "FAIL: other-q8 KV-1" in output
    assert "K was asked as q8_0 (8.5 bits per weight) and takes 4.5; the log calls it q4_0" in output
    assert "V was asked as q4_0 (4.5 bits per weight) and takes 8.5; the log calls it q8_0" in output
    assert "FAIL: good-q8" not in output


def test_speculation_that_is_silently_off_fails_coherence_and_acceptance(tmp_path):
    output = run(tmp_path, 18505, SILENT, "coherence or tps")
    assert "FAIL: other-q8 COH-1 zh_marker" in output
    assert "no draft timings in the answer: speculation is not effective" in output
    assert "FAIL: other-q8 TPS-2" in output
    assert "nothing was drafted" in output
    assert "FAIL: good-q8" not in output


def test_a_dead_drafter_behind_a_live_one_fails(tmp_path):
    """Both were asked for and the answers draft; the log says that one of them did nothing."""
    twin = ensure_twin("twin42", "scripted")
    other = f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{twin.drafter}" }}'
    stacked = "mtp_block = 3, ngram_mod = true, ngram_n_match = 8, ngram_n_min = 4, ngram_n_max = 16"
    engine = child_session.faulty_engine(tmp_path / "engine", Faults(only="twin42", flags={"--spec-type": "draft-mtp"}))
    host = child_session.write_host(tmp_path, port=18520, recipe="path", engine=engine, other=other, speculation=stacked)
    session = child_session.start(host, tmp_path / "reports", "-m", "tps", "-k", "other")
    assert session.wait() == 1, session.output
    assert "FAIL: other-q8 TPS-3" in session.output
    assert "ngram-mod drafted 0 tokens and had 0 accepted" in session.output
    assert "FAIL: other-q8 TPS-2" not in session.output


def test_a_smaller_context_than_asked_fails_kv(tmp_path):
    output = run(tmp_path, 18510, {"-c": "1024"}, "kv")
    assert "FAIL: other-q8 KV-1" in output
    assert "FAIL: good-q8" not in output


def test_a_wrong_answer_fails_coherence_and_shows_where(tmp_path):
    scripts = tuple(
        script.model_copy(update={"answer": script.answer.replace("繁體中文", "簡體中文")}) if "驗收標記" in script.answer else script
        for script in shipped_scripts()
    )
    twin = ensure_twin("twin42", "scripted", scripts=scripts)
    other = f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{twin.drafter}" }}'
    host = child_session.write_host(tmp_path, port=18515, other=other, speculation="mtp_block = 3")
    session = child_session.start(host, tmp_path / "reports", "-m", "coherence")
    assert session.wait() == 1, session.output
    assert "FAIL: other-q8 COH-1 zh_marker" in session.output
    assert "簡體中文" in session.output
    assert "FAIL: good-q8" not in session.output
