"""The same sign-off as Markdown for a chat, JUnit XML for CI and text for the terminal: as honest as the page."""

import xml.etree.ElementTree as ElementTree

import pytest
from support.report_pages import summed
from support.report_sample import FIVE_STATES, PORT_TAKEN, five_states, host_of, run_of

from fixtures.catalog.load import load_families
from fixtures.records.verdict import Judgement, SignOff, Verdict
from fixtures.report.junit import render_junit
from fixtures.report.last_screen import render_last
from fixtures.report.markdown import render_markdown
from fixtures.report.summary import summary_of
from fixtures.report.terminal import render_matrix

HOSTILE = "| a\n`b` <script> \u202e\ud800\x00 ]]> *x* [y](z)"


def hostile():
    verdict = five_states().verdict
    candidates = tuple(
        c.model_copy(
            update={
                "next_step": HOSTILE,
                "gates": tuple(
                    g.model_copy(update={"case": HOSTILE, "judgement": g.judgement.model_copy(update={"reason": HOSTILE})}) for g in c.gates
                ),
            }
        )
        for c in verdict.candidates
    )
    return verdict.model_copy(update={"candidates": candidates, "master_reason": HOSTILE, "host_title": HOSTILE})


def falsely_ready():
    """Called READY all over, with a failed gate beneath."""
    verdict = run_of(host_of("dgx"), {}).verdict
    failed = Judgement(verdict=Verdict.FAIL, reason="planted")
    candidates = tuple(
        c.model_copy(update={"gates": tuple(g.model_copy(update={"judgement": failed}) if g.requirement == "KV-1" else g for g in c.gates)})
        for c in verdict.candidates
    )
    return verdict.model_copy(update={"candidates": candidates})


SAMPLES = [
    (five_states(), "NOT READY", False),
    (run_of(host_of("dgx"), {}), "READY", True),
    (run_of(host_of("dgx"), {}, full_scope=False), "PARTIAL RUN", False),
    (run_of(host_of("dgx"), {"31b-k3v3": Verdict.INVALID}), "INCOMPLETE", False),
]
IDS = ["five", "ready", "partial", "incomplete"]


@pytest.mark.parametrize(("sample", "word", "ready"), SAMPLES, ids=IDS)
def test_all_three_say_the_same_word_first(sample, word, ready):
    assert render_last(summed(sample.verdict), 100).startswith(f"{word} ")
    assert f"**{word}**" in render_markdown(summed(sample.verdict)).splitlines()[0]
    assert (_master(sample.verdict) == "") == ready


@pytest.mark.parametrize("render", [render_markdown, lambda summary: render_last(summary, 100)], ids=["markdown", "terminal"])
def test_a_false_ready_is_told_as_incomplete_with_its_contradiction(render):  # type: ignore[no-untyped-def]
    text = render(summed(falsely_ready()))
    assert "INCOMPLETE" in text.splitlines()[0]
    assert "31b-k3v3 is called READY, but KV-1 is FAIL" in text


def test_a_false_ready_is_red_in_junit():
    assert _master(falsely_ready()) == "error"


def _master(verdict):
    root = ElementTree.fromstring(render_junit(summed(verdict)))  # noqa: S314
    case = root.find("testsuite[@name='sign-off']/testcase[@name='master goal']")
    assert case is not None
    return case[0].tag if len(case) else ""


def test_a_pass_whose_record_is_lost_is_red_in_every_report():
    sample = run_of(host_of("dgx"), {})
    summary = summary_of(sample.verdict, (), {record.seq for record in sample.evidence[1:]}, load_families())
    assert render_last(summary, 100).startswith("INCOMPLETE ")
    assert "**INCOMPLETE**" in render_markdown(summary).splitlines()[0]
    assert 'message="INCOMPLETE' in render_junit(summary)


def test_what_is_not_ready_is_never_ready_by_waiver():
    verdict = run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.WAIVED)).verdict
    lost = summary_of(verdict, (), (), load_families())
    assert {(row.sign.signoff, row.sign.waived) for row in lost.rows} == {(SignOff.INCOMPLETE, False)}


def test_a_comparison_row_is_said_to_be_one_also_where_it_is_waived():
    summary = summed(run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.WAIVED)).verdict)
    assert "| `31b-k3v4` | READY (by waiver, comparison only) |" in render_markdown(summary)
    assert "(ready (by waiver))" in render_matrix(summary, 200)


def test_a_partial_run_is_called_so_once():
    summary = summed(run_of(host_of("dgx"), {}, full_scope=False).verdict)
    for text in (render_last(summary, 100), render_markdown(summary)):
        assert text.splitlines()[0].count("PARTIAL RUN") == 1


def test_junit_maps_every_state_and_counts_them():
    root = ElementTree.fromstring(render_junit(summed(five_states().verdict)))  # noqa: S314
    cases = {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in root.iter("testcase")}
    assert cases["dgx.26b-k3v3", "COH-1[repeat_line]"] == ["failure"]
    assert cases["dgx.31b-k3v3", "TPS-1"] == ["skipped"]
    assert cases["dgx.e4b-k3v4", "TPS-1"] == ["skipped"]
    assert cases["dgx.e4b-k3v3", "TPS-1"] == ["skipped"]
    assert cases["dgx.26b-k3v4", "TPS-1"] == []
    assert cases["dgx.sign-off", "26b-k3v3"] == ["failure"]
    assert cases["dgx.sign-off", "31b-k3v3"] == ["error"]
    assert ("dgx.sign-off", "31b-k3v4") not in cases, "a comparison row is not signed off"
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"), ("tests", "testcase")):
        assert int(root.get(attribute, "-1")) == len(list(root.iter(tag)))


def test_an_advisory_failure_is_no_junit_failure():
    verdict = run_of(host_of("dgx"), {}).verdict
    failed = Judgement(verdict=Verdict.FAIL, reason="advisory only")
    candidates = tuple(
        c.model_copy(update={"gates": tuple(g.model_copy(update={"judgement": failed}) if g.requirement == "KV-4" else g for g in c.gates)})
        for c in verdict.candidates
    )
    root = ElementTree.fromstring(render_junit(summed(verdict.model_copy(update={"candidates": candidates}))))  # noqa: S314
    assert root.get("failures") == "0"
    assert {skip.get("message") for skip in root.iter("skipped")} == {
        "advisory FAIL: advisory only",
        "advisory BLOCKED: the catalog has no reference for it",
    }


def test_hostile_text_keeps_junit_valid_and_readable():
    root = ElementTree.fromstring(render_junit(summed(hostile())).encode("utf-8"))  # noqa: S314
    reason = next(skip.text for skip in root.iter("skipped"))
    assert reason == "| a\n`b` <script> ⟨U+202E⟩⟨U+D800⟩⟨U+0000⟩ ]]> *x* [y](z)"


def test_hostile_text_breaks_no_markdown():
    text = render_markdown(summed(hostile()))
    text.encode("utf-8")
    table = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(table) == len(FIVE_STATES)
    assert all(line.replace("\\|", "").count("|") == 4 for line in table)
    assert "<script>" not in text.replace("\\<script\\>", "")


def test_markdown_fits_a_chat_and_has_the_commands():
    text = render_markdown(summed(five_states().verdict))
    assert len(text) < 4_000
    assert "`pytest --host dgx -m coherence -k 26b-k3v3 --fresh`" in text
    assert PORT_TAKEN in text
    assert "READY (comparison only)" in text


def test_markdown_of_many_steps_names_how_many_are_left():
    text = render_markdown(summed(run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.FAIL)).verdict))
    assert "and 3 more; see the report" in text


def test_markdown_speaks_chinese():
    text = render_markdown(summed(five_states().verdict), "zh-TW")
    assert "不得上線 NOT READY" in text
    assert "下一步" in text


@pytest.mark.parametrize("width", [20, 60, 80, 100, 160])
def test_terminal_lines_fit_the_width_but_for_commands(width):
    summary = summed(five_states().verdict)
    lines = [*render_matrix(summary, width).splitlines(), *render_last(summary, width).splitlines()]
    assert [line for line in lines if len(line) > max(width, 40) and "$ " not in line and "make signoff" not in line] == []


@pytest.mark.parametrize("width", [60, 100, 160])
def test_terminal_shows_every_requirement_of_every_candidate(width):
    verdict = five_states().verdict
    text = render_matrix(summed(verdict), width)
    headers = {word for line in text.splitlines() if line.startswith("candidate ") for word in line.split()}
    assert headers >= {gate.requirement for candidate in verdict.candidates for gate in candidate.gates}
    row = next(line for line in text.splitlines() if line.startswith("26b-k3v3 "))
    assert row.split()[1:3] == ["NOT", "READY"]
    assert "(ready)" in text, "a comparison row is never shown as READY"


def only_coherent(candidate):
    """COH-1 passed, and nothing else was run."""
    rest = Judgement(verdict=Verdict.NOT_RUN, reason="")
    gates = tuple(gate if gate.requirement == "COH-1" else gate.model_copy(update={"judgement": rest}) for gate in candidate.gates)
    return candidate.model_copy(update={"gates": gates})


def test_a_part_shows_what_it_ran_and_a_sign_off_its_gaps():
    """Five tables of dashes hide the two columns that were asked for."""
    for full, shown in ((True, True), (False, False)):
        verdict = run_of(host_of("dgx"), {}, full_scope=full).verdict
        verdict = verdict.model_copy(update={"candidates": tuple(map(only_coherent, verdict.candidates))})
        text = render_matrix(summed(verdict), 400)
        assert "COH-1" in text.split()
        assert ("TPS-1" in text.split()) is shown
        assert ("more requirements, of which this run ran no gate" in text) is not shown


def test_terminal_is_free_of_control_characters():
    text = render_matrix(summed(hostile()), 100) + render_last(summed(hostile()), 100)
    assert not [character for character in text if ord(character) < 32 and character != "\n"]
    text.encode("utf-8")
