"""A run of an older suite can still be shown, and a re-check of it names what differs."""

import json

import pytest
from support.report_pages import blocks_of, page_of
from support.report_sample import five_states

from fixtures.catalog.load import load_requirements
from fixtures.evidence.ledger import LedgerContent
from fixtures.report.blocks import Table
from fixtures.report.html import render_page
from fixtures.report.recheck import differences
from fixtures.report.strings import LANGUAGES

YOUNGER = ("order", "limit", "limit_basis", "compared", "audit_item", "figure", "rests_on", "zh-TW")
LEDGER = LedgerContent(records=(), sha256="", problems=())


def older(sample, **changes):
    """The sample as a suite before 0.2 would have written its manifest."""
    requirements = tuple(
        {key: value for key, value in item.items() if key not in YOUNGER} | changes for item in sample.manifest.requirements
    )
    return sample._replace(
        manifest=sample.manifest.model_copy(update={"requirements": requirements, "families": (), "lanes": {}, "suite_version": "0.1.0"})
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_an_older_run_did_not_record_is_todays(lang):
    assert render_page(page_of(older(five_states()), lang=lang)) == render_page(page_of(five_states(), lang=lang))


def test_a_requirement_that_is_no_longer_asked_for_is_shown_in_its_own_words():
    sample = older(five_states())
    gone = {**sample.manifest.requirements[0], "id": "OLD-1", "title": "Once asked for", "marker": "olden"}
    page = page_of(sample, manifest=sample.manifest.model_copy(update={"requirements": (*sample.manifest.requirements, gone)}))
    assert [column.requirement for column in page.matrix.columns if column.requirement not in {r.id for r in load_requirements()}] == [
        "OLD-1"
    ]
    (table,) = [block for block in blocks_of(page, "requirements") if isinstance(block, Table)]
    assert "Once asked for" in repr(table)


def judged(*judgements, rules=2, **more):
    candidates = [
        {"candidate": candidate, "gates": [{"requirement": "DEP-4", "case": "", "judgement": {"verdict": verdict, "reason": reason}}]}
        for candidate, verdict, reason in judgements
    ]
    return json.dumps({"rules_version": rules, "candidates": candidates, **more}).encode()


def test_a_difference_is_named_by_candidate_and_gate():
    found = differences(judged(("a", "PASS", "good")), judged(("a", "FAIL", "bad")), LEDGER)
    assert found == ('verdict.json, DEP-4 of a: recorded PASS "good", judged again FAIL "bad"',)


def test_candidates_share_one_line_where_they_differ_in_the_same_way():
    before = judged(*((name, "PASS", "good") for name in "abcde"), rules=1)
    after = judged(*((name, "INVALID", "void") for name in "abcd"), ("e", "FAIL", "bad"))
    assert differences(before, after, LEDGER) == (
        "judged by rules version 1, this suite judges by 2",
        'verdict.json, DEP-4 of 4 candidates: recorded PASS "good", judged again INVALID "void"',
        'verdict.json, DEP-4 of e: recorded PASS "good", judged again FAIL "bad"',
    )


def test_what_is_no_gate_is_named_by_its_place():
    before, after = judged(master="READY", areas=[{"passed": 1}]), judged(master="INCOMPLETE", areas=[{"passed": 0}])
    assert differences(before, after, LEDGER) == (
        "verdict.json, areas[0].passed: recorded 1, judged again 0",
        'verdict.json, master: recorded "READY", judged again "INCOMPLETE"',
    )


def test_the_same_verdict_differs_in_nothing():
    same = judged(("a", "PASS", "good"))
    assert differences(same, same, LEDGER) == ()
    assert differences(same + b" ", same, LEDGER) == ("verdict.json: same content, other bytes (it was rewritten)",)
