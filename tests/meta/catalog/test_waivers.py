"""Waivers: signed, dated, matched, expiring - and never green."""

from datetime import UTC, datetime

import pytest
from support.evidence_samples import COH, GREEN, evidence
from support.signed_entries import WAIVER
from support.signoff_samples import HOST, REQUIREMENTS, all_green, run

from fixtures.catalog.errors import CatalogError
from fixtures.catalog.waivers import load_waivers, waivers_file
from fixtures.judge.waive import apply_waiver
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import Judgement, SignOff, Verdict

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def write(tmp_path, *entries, head="schema = 1\n"):
    text = head
    for entry in entries:
        text += "[[waiver]]\n" + "".join(
            f"{key} = {value!r}\n" if isinstance(value, list) else f'{key} = "{value}"\n' for key, value in entry.items()
        )
    file = tmp_path / "waivers.toml"
    file.write_text(text.replace("'", '"'))
    return file


def load(tmp_path, *entries):
    return load_waivers(write(tmp_path, *entries), HOST, REQUIREMENTS, NOW)


def test_a_good_one_loads(tmp_path):
    (waiver,) = load(tmp_path, WAIVER)
    assert waiver.waives == ("FAIL",)
    assert waiver.signature.startswith("waiver by Ann of 2026-11-20, until 2026-12-20T00:00:00Z: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"requirement": "KV-9"}, '"KV-9" is no requirement; did you mean `KV-'),
        ({"requirement": "*"}, "is no requirement"),
        ({"candidate": "twin42-q9"}, "is no gated candidate of host local; did you mean `twin42-q"),
        ({"candidate": "*"}, "is no gated candidate"),
        ({"requirement": "PPL-1"}, "does not apply to twin42-q8"),
        ({"requirement": "COH-1"}, "is too broad: COH-1 has several cases; name one with `case`: zh_marker, embedded_facts, repeat_line"),
        ({"requirement": "COH-1", "case": "zh_market"}, "did you mean `zh_marker`"),
        ({"expires": "2026-11-24T11:59:59Z"}, "the waiver expired at 2026-11-24T11:59:59Z"),
        ({"expires": "2027-12-20T00:00:00Z"}, "is too broad: a waiver lives 92 days at most"),
        ({"date": "2026-11-25"}, "lies in the future"),
        ({"date": "2026-02-30"}, "is no day of the calendar"),
        ({"expires": "2026-13-01T00:00:00Z"}, "is no moment of the calendar"),
        ({"reason": "because"}, "reason"),
        ({"who": ""}, "who"),
        ({"waives": ["PASS"]}, "waives"),
        ({"wh0": "Ann"}, "wh0"),
    ],
)
def test_bad_ones_are_one_message(tmp_path, change, said):
    with pytest.raises(CatalogError) as error:
        load(tmp_path, WAIVER | change)
    assert said in str(error.value)
    assert "waivers.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_doubled(tmp_path):
    with pytest.raises(CatalogError, match="an earlier entry waives already"):
        load(tmp_path, WAIVER, WAIVER)


def test_file_stands_beside_the_overlay(tmp_path):
    assert waivers_file("dgx", {"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "llama-readiness" / "dgx.waivers.toml"


def test_only_named_verdicts_are_waived(tmp_path):
    (waiver,) = load(tmp_path, WAIVER)
    for verdict in (Verdict.INVALID, Verdict.BLOCKED):
        assert apply_waiver(Judgement(verdict=verdict, reason="x"), waiver).verdict is verdict
    waived = apply_waiver(Judgement(verdict=Verdict.FAIL, reason="too big"), waiver)
    assert waived.verdict is Verdict.WAIVED
    assert "Ann" in waived.reason
    assert "too big" in waived.reason


def test_one_that_is_not_needed_any_more_fails(tmp_path):
    (waiver,) = load(tmp_path, WAIVER)
    found = apply_waiver(Judgement(verdict=Verdict.PASS, reason="fine"), waiver)
    assert found.verdict is Verdict.FAIL
    assert "no longer needed: remove it" in found.reason


def test_signoff_with_a_waived_gate_is_ready_and_counts_it(tmp_path):
    bad = evidence("COH-1", "twin42-q8", COH | {"text_ok": False}, case="zh_marker", raw=GREEN["COH-1"][1])
    waivers = load(tmp_path, WAIVER | {"requirement": "COH-1", "case": "zh_marker"})
    verdict = run(all_green({("COH-1", "twin42-q8", "zh_marker"): bad}), waivers=waivers)
    assert (verdict.master, verdict.coverage.waived, verdict.coverage.failed) == (SignOff.READY, 1, 0)
    assert run(all_green({("COH-1", "twin42-q8", "zh_marker"): bad})).master is SignOff.NOT_READY


def test_blocked_is_not_waived_by_a_waiver_for_failures(tmp_path):
    blocked = evidence("KV-1", "twin42-q8", GREEN["KV-1"][0], status=EvidenceStatus.BLOCKED, reason="lock")
    verdict = run(all_green({("KV-1", "twin42-q8", ""): blocked}), waivers=load(tmp_path, WAIVER))
    assert verdict.master is SignOff.INCOMPLETE
