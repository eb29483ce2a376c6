"""The page as data: nothing is headed as ready that is not."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_pages import blocks_of, page_of, seqs, summed
from support.report_sample import FIVE_STATES, LINKS, altered, five_states, host_of, run_of, with_gate

from fixtures.catalog.candidate import GOAL_ROLES, Role
from fixtures.catalog.load import load_requirements
from fixtures.catalog.requirement import Tier
from fixtures.records.signoff import GateVerdict
from fixtures.records.verdict import Judgement, SignOff, Verdict
from fixtures.report.blocks import Table
from fixtures.report.dossier import open_dossier
from fixtures.report.errors import ReportError
from fixtures.report.honesty import Headline, doubts, headline, sign_of
from fixtures.report.inline import File, Msg
from fixtures.report.markdown import render_markdown
from fixtures.report.parts.provenance import reused_line
from fixtures.report.terminal import render_matrix

READY = run_of(host_of("dgx"), {})


def test_a_clean_full_run_is_headed_ready():
    page = page_of(READY)
    assert page.banner.headline == Headline.READY
    assert page.banner.doubts == ()
    assert page.banner.next_command == ""


def test_five_states_are_not_ready_and_five_distinct_states():
    page = page_of(five_states())
    assert page.banner.headline == Headline.NOT_READY
    shown = {cell.verdict for group in page.matrix.groups for row in group.rows for cell in row.cells}
    assert shown == {Verdict.PASS, Verdict.FAIL, Verdict.INVALID, Verdict.BLOCKED, Verdict.WAIVED, None}


def test_a_partial_run_is_never_headed_ready():
    page = page_of(run_of(host_of("dgx"), {}, full_scope=False))
    assert page.banner.headline == Headline.PARTIAL
    assert page.banner.partial
    assert page.banner.next_command == "make signoff HOST=dgx"


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INVALID, Verdict.BLOCKED, Verdict.NOT_RUN])
def test_a_master_called_ready_over_an_open_gate_is_refused(verdict):
    wrong = with_gate(READY.verdict, "31b-k3v3", "COH-1", judgement=Judgement(verdict=verdict, reason="planted"))
    assert wrong.master == SignOff.READY
    assert headline(wrong, seqs(wrong)) == Headline.INCOMPLETE
    page = page_of(READY, verdict=wrong)
    assert page.banner.headline == Headline.INCOMPLETE
    assert any(doubt.args["candidate"] == "31b-k3v3" for doubt in page.banner.doubts)
    assert page.matrix.groups[0].rows[0].sign.signoff == SignOff.INCOMPLETE


def test_a_pass_whose_record_is_missing_is_refused():
    sample = READY
    lost = next(record for record in sample.evidence if (record.candidate, record.requirement) == ("26b-k3v4", "TPS-1"))
    page = page_of(sample, evidence=[record for record in sample.evidence if record.seq != lost.seq])
    assert page.banner.headline == Headline.INCOMPLETE
    assert [doubt.key for doubt in page.banner.doubts] == ["doubt.no_record"]


def test_advisory_passes_alone_make_nothing_ready():
    sample = READY
    candidate = sample.verdict.candidates[0]
    advisory = tuple(gate.model_copy(update={"tier": Tier.ADVISORY}) for gate in candidate.gates)
    wrong = altered(sample.verdict, candidate.candidate, gates=advisory)
    assert sign_of(wrong.candidates[0], seqs(wrong)).signoff == SignOff.INCOMPLETE
    assert headline(wrong, seqs(wrong)) == Headline.INCOMPLETE


def test_an_advisory_failure_takes_nothing_away():
    failed = with_gate(READY.verdict, "31b-k3v3", "KV-4", judgement=Judgement(verdict=Verdict.FAIL, reason="advisory"))
    assert headline(failed, seqs(failed)) == Headline.READY
    assert summed(failed).steps == ()


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"models": {}}, "doubt.no_models"),
        ({"models": {"gemma4-31b": ""}}, "doubt.no_lane"),
        ({"models": {"gemma4-31b": "31b-k3v4"}}, "doubt.lane_not_ready"),  # a comparison row
    ],
)
def test_a_master_called_ready_without_its_lanes_is_refused(changes, doubt):
    wrong = READY.verdict.model_copy(update=changes)
    assert headline(wrong, seqs(wrong)) == Headline.INCOMPLETE
    assert [found.key for found in doubts(wrong, seqs(wrong))] == [doubt]


_GATES = st.lists(
    st.builds(
        GateVerdict,
        requirement=st.sampled_from(["KV-1", "COH-1", "TPS-1"]),
        marker=st.just("kv"),
        tier=st.sampled_from(list(Tier)),
        judgement=st.builds(Judgement, verdict=st.sampled_from(list(Verdict)), reason=st.just("r")),
        seq=st.none() | st.integers(min_value=1, max_value=3),
    ),
    max_size=4,
).map(tuple)


@given(gates=_GATES, role=st.sampled_from(list(Role)), full_scope=st.booleans(), records=st.sets(st.integers(min_value=1, max_value=3)))
def test_whatever_is_claimed_green_means_every_required_gate_is_through(gates, role, full_scope, records):
    base = READY.verdict
    candidate = base.candidates[0].model_copy(update={"gates": gates, "role": role, "signoff": SignOff.READY})
    claimed = base.model_copy(update={"candidates": (candidate,), "models": {"m": candidate.candidate}, "full_scope": full_scope})
    required = [gate for gate in gates if gate.tier == Tier.REQUIRED]
    verdicts = {gate.judgement.verdict for gate in required}
    proven = all(gate.seq in records for gate in required if gate.judgement.verdict == Verdict.PASS)
    good = bool(required) and verdicts <= {Verdict.PASS, Verdict.WAIVED} and proven and full_scope and role in GOAL_ROLES
    assert (headline(claimed, records) == Headline.READY) == good


def test_ready_by_a_waiver_is_set_apart_wherever_a_sign_off_stands():
    sample = five_states()
    signs = {row.candidate: row.sign for group in page_of(sample).matrix.groups for row in group.rows}
    assert [name for name, sign in signs.items() if sign.waived] == ["e4b-k3v3"]
    assert signs["e4b-k3v3"].signoff == SignOff.READY
    assert "READY (by waiver)" in render_markdown(summed(sample.verdict))
    assert "READY (by waiver)" in render_matrix(summed(sample.verdict), 200)


def test_a_run_without_any_evidence_can_be_shown():
    sample = run_of(host_of("dgx"), dict.fromkeys(FIVE_STATES, Verdict.NOT_RUN))
    page = page_of(sample, launches=())
    assert page.banner.headline == Headline.INCOMPLETE
    assert "speed" in [section.id for section in page.sections], "gates that did not run are listed, not left out"


def test_records_with_nothing_that_is_expected_can_be_shown():
    sample = five_states()
    bare = [record.model_copy(update={"measured": {}, "raw": {}}) for record in sample.evidence]
    odd = [record.model_copy(update={"measured": {"ppl": "x", "decode_tps": None}, "raw": {"answer": 3}}) for record in sample.evidence]
    assert page_of(sample, evidence=bare).matrix == page_of(sample).matrix
    assert page_of(sample, evidence=odd).matrix == page_of(sample).matrix


def test_a_log_is_the_one_the_record_names_or_that_of_its_launch():
    sample = five_states()
    dossier = open_dossier(sample.manifest, sample.verdict, sample.evidence, sample.launches, LINKS)
    by_requirement = {record.requirement: record for record in sample.evidence if record.candidate == "26b-k3v4"}
    speed = dossier.log(by_requirement["TPS-1"])
    assert speed is not None
    assert speed.href == "logs/26b-k3v4-production.log"
    assert dossier.log(by_requirement["AUD-1"]) is None, "no server, no log"
    assert dossier.log(by_requirement["PPL-1"]) is None, "reused: its log lies with the run that measured it"
    fresh = by_requirement["PPL-1"].model_copy(update={"reused_from": None})
    named = dossier.log(fresh)
    assert named is not None
    assert named.href == "logs/26b-k3v4-perplexity.log"
    early = by_requirement["TPS-1"].model_copy(update={"started": sample.launches[0].at - timedelta(hours=1)})
    assert dossier.log(early) is None, "a launch after the measurement is not its server"


def test_reused_evidence_says_since_when_and_leads_to_its_run():
    record = next(record for record in five_states().evidence if record.reused_from)
    date, origin = reused_line(record)
    assert isinstance(date, Msg)
    assert isinstance(origin, File)
    assert str(date.args["date"]).startswith("2026-11-20 ")
    assert origin.href == f"../20261120T081500Z-dgx-3120/index.html#e{record.seq}"
    assert reused_line(record.model_copy(update={"reused_from": None})) == ()
    strange = reused_line(record.model_copy(update={"reused_from": "../../x"}))
    assert not [part for part in strange if isinstance(part, File)]


def test_stale_evidence_is_listed_with_what_changed():
    sample = five_states()
    earlier = {"run": "20261101T000000Z-dgx-1", "seq": 7, "changed": ["engine", "corpus"]}
    evidence = [
        record.model_copy(update={"raw": {**record.raw, "supersedes": earlier}}) if record.seq == 13 else record
        for record in sample.evidence
    ]
    table = next(block for block in blocks_of(page_of(sample, evidence=evidence), "evidence") if isinstance(block, Table))
    assert "20261101T000000Z-dgx-1#7" in repr(table.groups[0].rows)
    assert "engine, corpus" in repr(table.groups[0].rows)


def test_waivers_are_listed_with_who_why_and_until_when():
    table = next(block for block in blocks_of(page_of(five_states()), "waivers") if isinstance(block, Table))
    said = repr(table.groups[0].rows)
    assert all(part in said for part in ("e4b-k3v3", "TPS-1", "the owner", "2026-12-01T00:00Z", "noisy run is accepted"))
    assert "waivers" not in [section.id for section in page_of(run_of(host_of("local"), {})).sections]


def test_a_log_name_cannot_become_another_link():
    sample = five_states()
    dossier = open_dossier(sample.manifest, sample.verdict, sample.evidence, sample.launches, {})
    assert dossier.log_file("javascript:alert(1)").href == "javascript%3Aalert%281%29"
    assert dossier.log_file('a"b<c>\ud800.log').href == "a%22b%3Cc%3E%5Cud800.log"


def test_a_launch_that_was_recorded_twice_is_one_process():
    sample = five_states()
    begun = sample.launches[0].model_copy(update={"ended": None, "exit_status": None})
    dossier = open_dossier(sample.manifest, sample.verdict, sample.evidence, (begun, *sample.launches), LINKS)
    assert dossier.launches == sample.launches


@pytest.mark.parametrize(
    "href", ["https://example.org/x", "//example.org/x", "/etc/passwd", "javascript:alert(1)", "file:///x", "\\\\host\\x"]
)
def test_a_link_that_leaves_the_run_is_refused(href):
    with pytest.raises(ReportError, match="relative to the run folder"):
        page_of(five_states(), links={"evidence": href})


def test_two_records_of_one_number_are_refused():
    sample = five_states()
    with pytest.raises(ReportError, match="two evidence records have seq 1;"):
        page_of(sample, evidence=(*sample.evidence, sample.evidence[0]))


def test_a_catalog_of_another_suite_is_one_clear_message():
    sample = five_states()
    manifest = sample.manifest.model_copy(update={"host": {**sample.manifest.host, "ports": {"test": "many"}}})
    with pytest.raises(ReportError, match=r"run\.json does not fit this suite \(ports\.test: .*suite 0\.1\.0"):
        page_of(sample, manifest=manifest)


def test_requirements_of_the_catalog_all_reach_the_page():
    page = page_of(five_states())
    assert {column.requirement for column in page.matrix.columns} == {item.id for item in load_requirements()}


def test_the_sample_itself_is_consistent():
    candidates = five_states().verdict.candidates
    assert {c.candidate: c.worst for c in candidates} == FIVE_STATES
    assert doubts(five_states().verdict, {record.seq for record in five_states().evidence}) == ()
