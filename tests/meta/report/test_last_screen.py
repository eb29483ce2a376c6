"""What a run ends with: the verdict, what is new, one next step with one command, the page - and nothing below it."""

import pytest
from support.report_pages import summed
from support.report_sample import FIVE_STATES, altered, five_states, host_of, run_of, with_gate

from fixtures.catalog.load import load_host, load_requirements
from fixtures.catalog.missing import all_missing_keys
from fixtures.catalog.missing_told import missing_told, value_for
from fixtures.evidence.earlier import earlier_verdicts
from fixtures.judge.changes import verdicts_since
from fixtures.records.verdict import Judgement, Verdict
from fixtures.report.attached import attached_notes
from fixtures.report.last_screen import render_last

MISSING = missing_told(["guard.lock", "guard.competing"], "/home/ann/.config/llama-readiness/dgx.toml")


def blocked_by(reason):
    judgement = Judgement(verdict=Verdict.BLOCKED, reason=reason)
    return with_gate(run_of(host_of("dgx"), {}).verdict, "31b-k3v3", "KV-1", judgement=judgement)


def test_it_has_one_step_with_one_command_and_ends_with_the_page():
    text = render_last(summed(five_states().verdict), 100, page="/r/index.html")
    lines = text.splitlines()
    assert lines[0].startswith("NOT READY ")
    assert [line[:26] for line in lines if line.startswith("next: ")] == ["next: 26b-k3v3 FAIL COH-1:"]
    assert sum(line.strip().startswith("$ ") for line in lines) == 1
    assert lines[-1] == "report: /r/index.html"
    assert len(lines) < 25


def test_what_the_reader_must_know_first_stands_first():
    assert render_last(summed(five_states().verdict), 100, notes=["HOST local: taken"]).startswith("! HOST local: taken\n")


def test_a_missing_key_names_the_line_its_table_and_the_file():
    assert MISSING.startswith("missing key `guard.lock`, `guard.competing`: add `lock = ")
    assert "below `[guard]` in /home/ann/.config/llama-readiness/dgx.toml, and the others likewise" in MISSING
    text = render_last(summed(blocked_by(MISSING)), 100, overlay="/home/ann/dgx.toml")
    assert "  the overlay: /home/ann/dgx.toml" in text
    assert "the overlay:" not in render_last(summed(blocked_by("port 1 is taken")), 100, overlay="/home/ann/dgx.toml")


def test_every_key_that_the_dgx_lacks_has_a_value_to_fill_in():
    keys = all_missing_keys(load_host("dgx", bare=True), load_requirements())
    assert len(keys) > 20
    assert [key for key in keys if value_for(key) == '"<its absolute path>"'] == ["fallback.backup", "fallback.copy"]


def test_what_is_new_is_only_what_both_runs_tried():
    before = run_of(host_of("dgx"), {**FIVE_STATES, "31b-k3v3": Verdict.NOT_RUN}).verdict
    news = verdicts_since(before, run_of(host_of("dgx"), {**FIVE_STATES, "26b-k3v3": Verdict.PASS}).verdict)
    assert {change.candidate for change in news.changes} == {"26b-k3v3"}
    text = render_last(summed(five_states().verdict), 100, news=news)
    assert f"new since {before.run}: {len(news.changes)} verdicts" in text
    assert "26b-k3v3 COH-1 repeat_line: FAIL -> PASS" in text
    same = verdicts_since(before, before)
    assert f"new: no verdict is another one than in {before.run}" in render_last(summed(before), 100, news=same)
    nothing = run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.NOT_RUN)).verdict
    assert verdicts_since(nothing, before) is None, "no gate in common is no news"


def test_earlier_verdicts_are_read_newest_first_and_a_damaged_one_is_left_out(tmp_path):
    verdict = run_of(host_of("dgx"), {}).verdict
    for number, content in enumerate((verdict.model_dump_json(), "{", verdict.model_copy(update={"host": "local"}).model_dump_json())):
        folder = tmp_path / f"2026112{number}T081500Z-dgx-1"
        folder.mkdir()
        (folder / "verdict.json").write_text(content)
    (tmp_path / "20261125T081500Z-dgx-1").mkdir()
    assert [found.run for found in earlier_verdicts(tmp_path, "dgx", before="20261126T000000Z-dgx-1")] == [verdict.run]
    assert list(earlier_verdicts(tmp_path, "dgx", before="20261120T000000Z-dgx-1")) == []


@pytest.mark.parametrize(
    ("requirement", "verdict", "said"),
    [
        ("COH-1", Verdict.PASS, "31b-k3v3 COH-1 (3 gates) count in a sign-off, as evidence of the production arm"),
        ("COH-1", Verdict.BLOCKED, "31b-k3v3 COH-1 (3 gates) do not count in a sign-off: BLOCKED, it has -ctv q4_0"),
        ("TPS-1", Verdict.PASS, "31b-k3v3 TPS-1 does not count in a sign-off: what a live server measures beside its users never counts"),
    ],
)
def test_an_attached_result_says_whether_it_counts_and_why_not(requirement, verdict, said):
    sample = run_of(host_of("dgx"), {})
    judgement = Judgement(verdict=verdict, reason="it has -ctv q4_0")
    judged = with_gate(sample.verdict, "31b-k3v3", requirement, judgement=judgement)
    live = {"attached": {"url": "http://127.0.0.1:8092"}}
    of_gate = [e for e in sample.evidence if (e.candidate, e.requirement) == ("31b-k3v3", requirement)]
    records = [record.model_copy(update={"raw": live}) for record in of_gate]
    (note,) = attached_notes(records, judged, load_requirements())
    assert note.startswith("attached to http://127.0.0.1:8092: ")
    assert said in note
    assert attached_notes(sample.evidence, altered(judged, "31b-k3v3"), load_requirements()) == ()
