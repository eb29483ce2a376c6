"""The fallback on the page: one table for the host, the plan to unfold, and the exact commands that settle what is open."""

import pytest
from support.report_pages import blocks_of, page_of
from support.report_sample import five_states

from fixtures.catalog.load import load_families, load_requirements
from fixtures.records.verdict import Judgement, Verdict
from fixtures.report.blocks import Exact, Fold, Table
from fixtures.report.html import render_page
from fixtures.report.next_steps import next_steps

FOUND = {
    "DEP-9": ({"files": 4, "faults": 0, "hidden": 0}, {"backup": "/b/state", "copy": "/local/state", "faults": [], "hidden": []}),
    "DEP-10": (
        {"changes": 1, "faults": 0, "hidden": 0},
        {
            "source": "/b/state/llama.service",
            "changes": [{"kind": "write", "path": "/u/llama.service", "old": "a", "new": "b", "diff": ["-old line", "+new line"]}],
            "commands": ["install -D /b/state/llama.service /u/llama.service", "systemctl restart llama.service"],
        },
    ),
    "DEP-11": (
        {"restored": True, "differences": 0, "tokens": 1, "served": "/models/26b.gguf"},
        {"operation": {"name": "restore", "who": "Ann", "reason": "the candidate was withdrawn"}},
    ),
}


def sample():
    made = five_states()
    evidence = tuple(
        record.model_copy(update=dict(zip(("measured", "raw"), FOUND[record.requirement], strict=True)))
        if record.requirement in FOUND
        else record
        for record in made.evidence
    )
    return made._replace(evidence=evidence)


def table_of(made):
    (table,) = [b for b in blocks_of(page_of(made), "services") if isinstance(b, Table) and b.caption.key == "fallback.table"]
    return table


def rows_of(table):
    return [row for group in table.groups for row in group.rows]


def test_one_row_a_requirement_however_many_candidates_owe_it():
    rows = rows_of(table_of(sample()))
    assert [next(r for r in FOUND if f"'{r}'" in repr(row.cells[0])) for row in rows] == ["DEP-9", "DEP-10", "DEP-11"]


def test_each_row_says_what_was_found():
    backup, plan, answers = (repr(row.cells[2]) for row in rows_of(table_of(sample())))
    assert "/b/state" in backup
    assert "/local/state" in backup
    assert "Num(text='1'" in plan
    assert "/models/26b.gguf" in answers
    assert "'who': 'Ann'" in answers
    assert "the candidate was withdrawn" in answers


def test_the_gates_of_the_fallback_are_not_told_again_candidate_by_candidate():
    (gates,) = [b for b in blocks_of(page_of(sample()), "services") if isinstance(b, Table) and b.caption.key == "services.gates"]
    assert not any(requirement in repr(row) for row in rows_of(gates) for requirement in ("'DEP-9'", "'DEP-10'", "'DEP-11'"))


def test_the_plan_can_be_unfolded():
    folds = [
        block for block in blocks_of(page_of(sample()), "services") if isinstance(block, Fold) and "fallback.plan" in repr(block.summary)
    ]
    (text,) = [block.excerpt.shown for block in folds[0].blocks if isinstance(block, Exact)]
    assert text.startswith("-old line\n+new line\n\ninstall -D")


@pytest.mark.parametrize(("lang", "words"), [("en", "The fallback:"), ("zh-TW", "備援服務：")])
def test_it_is_told_in_both_languages(lang, words):
    page = render_page(page_of(sample(), lang=lang))
    assert words in page
    assert "Ann" in page


def test_what_is_open_names_the_commands_of_a_person():
    made = five_states()
    blocked = Judgement(verdict=Verdict.BLOCKED, reason="the fallback does not run")
    candidates = tuple(
        candidate.model_copy(
            update={
                "gates": tuple(
                    gate.model_copy(update={"judgement": blocked}) if gate.requirement == "DEP-11" else gate for gate in candidate.gates
                )
            }
        )
        for candidate in made.verdict.candidates
    )
    options = ("--host", "dgx", "--overlay=/o.toml", "--waivers=/w.toml", "--report-lang=zh-TW")
    steps = next_steps(made.verdict.model_copy(update={"candidates": candidates}), options, load_families(), load_requirements())
    (step,) = [step for step in steps if "the fallback does not run" in step.reasons]
    assert "./readiness restore --host dgx --overlay=/o.toml" in step.commands
    assert "./readiness restore --execute --approve 'WHO: REASON' --host dgx --overlay=/o.toml" in step.commands
    assert step.commands[-1].startswith(("pytest", "make"))
