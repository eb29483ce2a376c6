"""The audit table: each thing once, with its judgement and next step, in the terminal and on the page, in both languages."""

import json

import pytest
from support.evidence_samples import evidence
from support.places import DATA
from support.report_sample import FIVE_STATES, host_of, run_of

from fixtures.catalog.host import Guard
from fixtures.catalog.load import load_requirements
from fixtures.measure.audit.machine import machine
from fixtures.records.audit import AuditItem, AuditRow, RowState, Wording
from fixtures.records.conditions import GuardReport
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import Verdict
from fixtures.report.audit_lines import audit_lines
from fixtures.report.audit_terminal import render_audit
from fixtures.report.html import render_page
from fixtures.report.page import build_page

DGX = json.loads((DATA / "dgx_guard.json").read_text(encoding="utf-8"))


def record(*rows, requirement="AUD-1", candidate="26b-k3v4", seq=1, **more):
    raw = {"rows": [row.model_dump(mode="json") for row in rows]}
    made = evidence(requirement, candidate, {"artefacts": 1}, raw=raw, **more)
    return made.model_copy(update={"marker": "audit", "seq": seq})


def row(item=AuditItem.PORT, subject="8090", reading=Wording.PORT_FREE, state=RowState.CLEAR, problem="", **facts):
    return AuditRow(item=item, subject=subject, reading=reading, facts=facts or {"role": "x"}, state=state, problem=problem)


def dgx_records():
    """The report's own audit, recorded for two candidates."""
    host = host_of("dgx").model_copy(update={"guard": Guard.model_validate(DGX["limits"])})
    found = machine(GuardReport.model_validate(DGX["report"]), host)
    for seq, candidate in enumerate(("31b-k3v3", "26b-k3v4"), 1):
        made = evidence("AUD-5", candidate, found.measured, raw=found.raw, status=found.status, reason=found.reason)
        yield made.model_copy(update={"marker": "audit", "seq": seq})


def lines_of(records):
    return audit_lines(records, load_requirements())


def test_what_candidates_share_stands_once_and_names_them():
    target = row(AuditItem.TARGET, "gemma4-26b")
    lines = lines_of([record(target, row()), record(target, row(), candidate="26b-k3v3", seq=2)])
    assert [(line.row.item, line.candidates) for line in lines] == [("target", ("26b-k3v4", "26b-k3v3")), ("port", ())]


def test_the_worse_of_two_readings_stays():
    taken = row(reading=Wording.PORT_TAKEN, state=RowState.BLOCKED, problem="taken", role="x", holder="python")
    for records in ([record(row()), record(taken, seq=2)], [record(taken, seq=2), record(row())]):
        (line,) = lines_of(records)
        assert (line.verdict, line.seq, line.step.key) == (Verdict.BLOCKED, 2, "audit.step.port")


def test_a_gate_that_could_not_even_look_has_a_line():
    blocked = record(status=EvidenceStatus.BLOCKED, reason="missing key `models.gemma4-26b.target.path`")
    (line,) = lines_of([blocked])
    assert (line.row.item, line.row.subject, line.verdict) == ("target", "26b-k3v4", Verdict.BLOCKED)
    assert "missing key" in line.row.problem


def test_records_of_other_families_and_broken_rows_are_left_out():
    other = record(row()).model_copy(update={"marker": "kv"})
    broken = record().model_copy(update={"raw": {"rows": [{"item": "nonsense"}, 7]}})
    assert lines_of([other, broken]) == []


def test_facts_that_the_words_lack_are_shown_bare():
    (line,) = lines_of([record(row(AuditItem.DISK, "", Wording.DISK, surprise="3"))])
    assert line.reading.text == "surprise 3"


def test_ports_are_in_order_of_number():
    lines = lines_of([record(row(subject="18080"), row(subject="8090"))])
    assert [line.row.subject for line in lines] == ["8090", "18080"]


class TestTerminal:
    """One table, in any width."""

    def test_the_dgx_audit(self):
        text = render_audit(lines_of(dgx_records()), 120)
        said = " ".join(text.split())
        assert text.splitlines()[0].split() == ["judgement", "item", "reading", "and", "next", "step"]
        for line in (
            "ok Lock /run/lock/stand-in.lock free: a stale file that nobody holds",
            "BLOCK Competing load ASR ASR: 344.0 % of a core, 50 % allowed (pid 2378446 asr 344.0 %) -> wait until it is idle or paused",
            "ok Port 8080 free (fallback)",
            "BLOCK Port 8090 port 8090 is taken by python (pid 2317) -> see who its holder is",
            "BLOCK Port 8092 port 8092 is taken by llama-server (pid 3161112); it is the host's canary (`ports.watch`): leave it running;",
            "a candidate needs another port -> nothing: it is to stay",
            "note Resident llama-server PID 3161112 ?, 0 MiB resident, port 8092",
        ):
            assert line in said
        assert said.count("Port 8090") == 1

    @pytest.mark.parametrize("width", [20, 60, 80, 200])
    def test_no_line_is_wider_than_asked(self, width):
        text = render_audit(lines_of(dgx_records()), width)
        assert max(map(len, text.splitlines())) <= max(width, 60)

    def test_nothing_looked_at_is_nothing_said(self):
        assert render_audit([], 80) == ""

    def test_hostile_text_is_visible(self):
        (line,) = lines_of([record(row(state=RowState.BLOCKED, problem="\x1b[31mred\u202e"))])
        assert "\x1b" not in render_audit([line], 80)


@pytest.mark.parametrize(
    ("lang", "told"),
    [
        (
            "en",
            (
                "What was read, what it means, and what to do",
                "taken by python (PID 2317) (31b-k3v3)",
                "344.0 % of a core, 50 % allowed: asr PID 2378446",
                "see who its holder is: stop it if it is yours to stop",
            ),
        ),
        (
            "zh-TW",
            (
                "讀值、判斷與下一步",
                "被佔用：python (PID 2317)（31b-k3v3）",
                "單核 344.0%，上限 50%：asr PID 2378446",
                "空閒：無人持有的過期鎖檔",
                "先查明佔用者是誰",
            ),
        ),
    ],
)
def test_the_page_has_the_same_table(lang, told):
    sample = run_of(host_of("dgx"), FIVE_STATES)
    kept = [e for e in sample.evidence if e.requirement != "AUD-5"]
    found = next(iter(dgx_records()))
    gate = next(e for e in sample.evidence if e.requirement == "AUD-5" and e.candidate == "31b-k3v3")
    audited = gate.model_copy(update={"status": found.status, "reason": found.reason, "raw": found.raw, "measured": found.measured})
    sample = sample._replace(evidence=(*kept, audited))
    html = render_page(build_page(**sample._asdict(), lang=lang))
    assert [text for text in told if text not in html] == []
