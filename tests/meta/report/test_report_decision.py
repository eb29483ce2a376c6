"""The decision between lanes: each fact beside its lane, one sentence of what the smaller costs, and who chose."""

import pytest
from support.report_sample import five_states

from fixtures.records.verdict import Verdict
from fixtures.report.blocks import Paragraph, Table
from fixtures.report.dossier import open_dossier
from fixtures.report.inline import Code, Msg, Num, Struck, Text
from fixtures.report.sections import decision
from fixtures.report.strings import strings


def section_of(sample, **changes):
    """The blocks of the section alone: a whole page takes seconds."""
    given = {**sample._asdict(), **changes}
    return decision.section(open_dossier(**{key: given[key] for key in ("manifest", "verdict", "evidence", "launches", "links")})).blocks


@pytest.fixture(scope="module")
def blocks():
    return section_of(five_states())


def plain(line):
    """A line as it is read."""
    words = strings("en")
    shown = {
        Msg: lambda i: words(i.key, **i.args),
        Num: lambda i: f"{i.text} {i.unit}".strip(),
        Text: lambda i: i.text,
        Code: lambda i: i.text,
        Struck: lambda i: f"~{i.text}~",
    }
    return " ".join(shown[type(i)](i) if type(i) in shown else getattr(i, "text", getattr(i, "head", "")) for i in line).strip()


def table_of(blocks, model):
    table = next(block for block in blocks if isinstance(block, Table) and block.caption.args["model"] == model)
    lanes = [column.title.head for column in table.columns[1:]]
    return {
        plain(row.cells[0].lines[0]): dict(zip(lanes, ([plain(line) for line in c.lines] for c in row.cells[1:]), strict=True))
        for row in table.groups[0].rows
    }


def sentences(blocks):
    return [plain(block.line) for block in blocks if isinstance(block, Paragraph)]


def test_the_lanes_of_the_26b_stand_side_by_side(blocks):
    facts = table_of(blocks, "gemma4-26b")
    assert facts["KV at 131072 tokens"] == {
        "26b-k3v3": ["558.59 MiB", "~1.40 GiB~ as reported"],
        "26b-k3v4": ["659.14 MiB", "~1.66 GiB~ as reported"],
    }
    (asked,) = facts["Coherence"]["26b-k3v3"]
    passed, of = asked.removeprefix("test launch ").removesuffix(" 2026-11-24").split("/")
    assert int(passed) == int(of) - 1
    assert facts["Unit and port"] == {"26b-k3v3": ["no unit"], "26b-k3v4": ["llama-gemma4-26b-k3v4-mtp-rc.service", "port 8088"]}
    assert facts["Speed on record"]["26b-k3v3"][0].startswith("on record: 61.39 – 62.14 t/s report")
    assert "ASR active" in facts["Speed on record"]["26b-k3v3"][0]
    assert facts["Open"]["26b-k3v3"][1].startswith("clean TPS; the decision between pure")


def test_one_sentence_says_what_pure_saves_and_costs(blocks):
    told = sentences(blocks)[0]
    assert told.startswith(
        "26b-k3v3 against 26b-k3v4 saves, at 131072 tokens, 100.55 MiB (16.18 MiB at 8192), and costs: perplexity × 1.489;"
    )
    assert "decode speed × 0.899 (0.8" in told
    assert "acceptance −3.01 points; coherence " in told


def test_speeds_that_are_not_clean_are_neither_shown_as_such_nor_compared(blocks):
    facts = table_of(blocks, "gemma4-e4b")
    assert [lane[1] for lane in facts["Clean decode speed"].values()] == ["not clean", "not clean"]
    assert "decode speed not clean, hence not compared;" in sentences(blocks)[3]


def test_a_model_with_one_lane_that_can_be_promoted_has_nothing_to_decide(blocks):
    assert {block.caption.args["model"] for block in blocks if isinstance(block, Table)} == {"gemma4-26b", "gemma4-e4b"}


def with_decision(sample):
    host = sample.manifest.host
    decided = {"gemma4-26b": {"candidate": "26b-k3v3", "who": "Ann Lee", "reason": "the memory is needed", "date": "2026-11-25"}}
    manifest = sample.manifest.model_copy(update={"host": {**host, "goal": {**host["goal"], "decided": decided}}})
    verdict = sample.verdict.model_copy(update={"models": {**sample.verdict.models, "gemma4-26b": ""}})
    return sample._replace(manifest=manifest, verdict=verdict)


def test_a_decision_is_shown_with_who_when_and_why():
    told = sentences(section_of(with_decision(five_states())))
    assert "26b-k3v3 was chosen by Ann Lee on 2026-11-25: the memory is needed" in told


def test_without_one_the_command_names_no_lane(blocks):
    assert any("./readiness choose gemma4-26b=LANE 'WHO: REASON' --host dgx" in line for line in sentences(blocks))


def test_records_without_their_numbers_leave_gaps_and_no_error():
    sample = five_states()
    emptied = tuple(record.model_copy(update={"measured": {}, "raw": {}}) for record in sample.evidence)
    blocks = section_of(sample, evidence=emptied)
    assert table_of(blocks, "gemma4-26b")["Clean decode speed"]["26b-k3v3"] == ["not measured"]
    told = sentences(blocks)[0]
    assert "perplexity × 1.489; (on record, not measured here) KL divergence ?;" in told
    assert "decode speed × 0.996; (on record, not measured here)" in told


def test_a_dominated_lane_is_named():
    sample = five_states()
    gates = {gate.seq: gate for candidate in sample.verdict.candidates for gate in candidate.gates if gate.seq}
    tps = {record.candidate: record for record in sample.evidence if record.requirement == "TPS-1" and record.candidate.startswith("26b")}
    assert len(tps) == 2
    slow = tps["26b-k3v3"]
    assert gates[slow.seq].judgement.verdict is Verdict.FAIL
    changed = tuple(
        record.model_copy(update={"measured": {**record.measured, "allocated_mib": 200.0}})
        if record.candidate == "26b-k3v3" and "allocated_mib" in record.measured
        else record
        for record in sample.evidence
    )
    told = sentences(section_of(sample, evidence=changed))
    assert any(line.startswith("26b-k3v3 is dominated: 26b-k3v4 is nowhere worse") for line in told)


def challenged(sample, **changes):
    """The 31B comparison row as a challenger of its model."""
    host = sample.manifest.host
    entries = [{**entry, "challenges": "gemma4-31b"} if entry["id"] == "31b-k3v4" else entry for entry in host["candidates"]]
    return section_of(sample._replace(manifest=sample.manifest.model_copy(update={"host": {**host, "candidates": entries, **changes}})))


def test_a_challenger_is_held_against_the_lane_by_four_criteria_and_the_page_says_by_which_it_has_not_won():
    blocks = challenged(five_states())
    (table,) = [block for block in blocks if isinstance(block, Table) and block.caption.key == "promotion.table"]
    ((challenger, incumbent, *outcomes),) = [[plain(cell.lines[0]) for cell in row.cells] for row in table.groups[0].rows]
    assert (challenger, incumbent, outcomes[-1]) == ("31b-k3v4", "31b-k3v3", "not known")
    assert [column.key for column in table.columns[2:]] == ["won_loader", "won_quality", "won_coherence", "won_speed"]
    (told,) = [line for line in sentences(blocks) if line.startswith("31b-k3v4 is not promoted")]
    assert told.endswith("speed")
    assert "against 31b-k3v3 it has not won by" in told


def test_side_rows_are_not_promoted_since_nothing_of_them_is_measured(blocks):
    told = [line for line in sentences(blocks) if "is a side lane and not promoted" in line]
    assert [line.split()[0] for line in told] == ["dflash-ddtree", "nvfp4-mxfp4", "e2b"]
