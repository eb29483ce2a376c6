"""Started services on the page: one table, what each prompt and the cache came to, who approved it, and the command of the runbook."""

import pytest
from support.report_pages import blocks_of, page_of
from support.report_sample import five_states

from fixtures.catalog.load import load_families, load_requirements
from fixtures.records.verdict import Judgement, Verdict
from fixtures.report.blocks import Table
from fixtures.report.html import render_page
from fixtures.report.next_steps import next_steps

MEASURED = {"start_s": 12.5, "stop_s": 2.25, "memory_kept_mib": 17.0}
RAW = {
    "operation": {"name": "smoke", "who": "Ann", "reason": "31B may be tried tonight"},
    "parts": [
        {"requirement": "KV-1", "case": "", "measured": {"allocated_mib": 359.38}},
        {"requirement": "COH-1", "case": "zh_marker", "measured": {"decode_tps": 24.5}},
        {"requirement": "COH-1", "case": "repeat_line", "measured": {}},
    ],
}


def sample():
    made = five_states()
    evidence = tuple(
        record.model_copy(update={"measured": MEASURED, "raw": RAW}) if record.requirement == "DEP-12" else record
        for record in made.evidence
    )
    return made._replace(evidence=evidence)


def rows_of(made, caption):
    (table,) = [b for b in blocks_of(page_of(made), "services") if isinstance(b, Table) and b.caption.key == caption]
    return [row for group in table.groups for row in group.rows]


def test_each_start_says_what_it_came_to_in_the_order_of_what_happened():
    row = next(row for row in rows_of(sample(), "smoke.table") if "'DEP-12'" in repr(row.cells[1]))
    found = repr(row.cells[3])
    told = [
        "smoke.started",
        "12.5",
        "smoke.kv",
        "359.38",
        "zh_marker",
        "24.5",
        "repeat_line",
        "smoke.stopped",
        "smoke.kept",
        "Ann",
        "tonight",
    ]
    assert [found.index(each) for each in told] == sorted(found.index(each) for each in told)


def test_they_are_not_told_again_among_the_other_gates():
    assert not any("'DEP-12'" in repr(row) or "'DEP-13'" in repr(row) for row in rows_of(sample(), "services.gates"))


def test_a_record_without_numbers_leaves_its_cell_empty():
    made = sample()
    bare = tuple(r.model_copy(update={"measured": {}, "raw": {}}) if r.requirement == "DEP-12" else r for r in made.evidence)
    assert "smoke.started" not in repr(rows_of(made._replace(evidence=bare), "smoke.table"))


@pytest.mark.parametrize(("lang", "words"), [("en", "asked on its own port:"), ("zh-TW", "在服務自己的連接埠上提問：")])
def test_it_is_told_in_both_languages(lang, words):
    assert words in render_page(page_of(sample(), lang=lang))


@pytest.mark.parametrize("state", [Verdict.BLOCKED, Verdict.FAIL])
def test_an_open_smoke_names_its_commands(state):
    """And what looks at it afterwards takes what they have recorded."""
    made = sample()
    candidate = made.verdict.candidates[0]
    gates = tuple(
        gate.model_copy(update={"judgement": Judgement(verdict=state, reason="not started")}) if gate.requirement == "DEP-12" else gate
        for gate in candidate.gates
    )
    verdict = made.verdict.model_copy(update={"candidates": (candidate.model_copy(update={"gates": gates}), *made.verdict.candidates[1:])})
    steps = next_steps(verdict, ("--host", "dgx"), load_families(), load_requirements())
    (step,) = [step for step in steps if "DEP-12" in step.requirements and step.verdict is state]
    plan = f"./readiness smoke {candidate.candidate}"
    assert f"{plan} --host dgx" in step.commands
    assert f"{plan} --approve 'WHO: REASON' --host dgx" in step.commands
    assert "--fresh" not in step.commands[-1]
