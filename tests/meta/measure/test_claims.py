"""The report's KV numbers against the maths: what is confirmed, what is contradicted, with which true value and why."""

import pytest
from support.evidence_samples import evidence, judged

from fixtures.catalog.load import host_names, load_claims, load_host, load_lanes
from fixtures.catalog.owed import gated
from fixtures.measure.claims import check_claim, claims_about, judged_claims
from fixtures.models.savings import savings_table
from fixtures.records.evidence import EvidenceStatus
from fixtures.records.verdict import Verdict

LANES = load_lanes()
CLAIMS = {claim.id: claim for claim in load_claims()}
# docs/facts.md#claimed-kv-figures, MiB at 131072
TRUE_128K = {
    "k3v3": {"e2b": "152.34", "e4b": "407.81", "26b": "558.59", "31b": "2234.38"},
    "k3v4": {"e2b": "179.77", "e4b": "481.22", "26b": "659.14", "31b": "2636.56"},
    "f16": {"e2b": "780.00", "e4b": "2088.00", "26b": "2860.00", "31b": "11440.00"},
    "q8": {"e2b": "414.38", "e4b": "1109.25", "26b": "1519.38", "31b": "6077.50"},
}


def test_all_six_8k_figures_are_confirmed():
    found = [check_claim(claim, LANES) for claim in CLAIMS.values() if claim.context == 8192]
    assert len(found) == 6
    assert {(claim.finding, claim.cause) for claim in found} == {("confirmed", "")}


@pytest.mark.parametrize(("lane", "model"), [(lane, model) for lane, values in TRUE_128K.items() for model in values])
def test_every_128k_fp16_and_int8_figure_is_contradicted_with_the_true_value(lane, model):
    found = check_claim(CLAIMS[f"{model}-{lane}-128k"], LANES)
    assert (found.finding, f"{found.true_mib:.2f}") == ("contradicted", TRUE_128K[lane][model])
    assert found.cause == ("times_context" if lane.startswith("k3") else "naive_bit_ratio")
    assert found.times == {"f16": "16 × 16/3", "q8": "16 × 8/3"}.get(lane, "16")
    assert found.swa_cells == (1024 if model in ("e2b", "e4b") else 1536)


def test_nothing_else_is_claimed():
    assert len(CLAIMS) == 6 + 16


def test_a_number_of_unknown_origin_is_not_explained_away():
    found = check_claim(CLAIMS["31b-k3v3-128k"].model_copy(update={"value": 4.0}), LANES)
    assert (found.finding, found.cause) == ("contradicted", "unexplained")


def test_a_corrected_report_is_confirmed():
    assert check_claim(CLAIMS["31b-k3v3-128k"].model_copy(update={"value": 2.18}), LANES).finding == "confirmed"


@pytest.mark.parametrize("host", host_names())
def test_the_candidates_of_a_host_hold_every_claim_between_them(host):
    host = load_host(host, bare=True)
    held = {candidate.id: {claim.id for claim in claims_about(candidate, host, CLAIMS.values())} for candidate in gated(host)}
    assert set.union(*held.values()) == set(CLAIMS)
    assert all(claims for claims in held.values())


def test_a_candidate_holds_the_claims_of_its_model_and_of_models_without_candidate():
    host = load_host("dgx", bare=True)
    held = {claim.geometry for claim in claims_about(host.candidate("26b-k3v3"), host, CLAIMS.values())}
    assert held == {"gemma4-26b-a4b", "gemma4-e2b"}


def test_a_wrong_claim_fails_no_candidate():
    host = load_host("dgx", bare=True)
    candidate = host.candidate("31b-k3v3")
    found = judged_claims(claims_about(candidate, host, CLAIMS.values()), LANES)
    assert found.measured == {"claims": 10, "confirmed": 2, "contradicted": 8}
    judgement = judged(evidence("KV-4", candidate.id, found.measured, raw=found.raw), candidate, host)
    assert (judgement.verdict, judgement.reason) == (Verdict.PASS, "10 claims judged: 2 confirmed, 8 contradicted")


def test_a_claim_about_an_unknown_model_is_an_error_that_names_it():
    found = judged_claims([CLAIMS["31b-k3v3-8k"].model_copy(update={"geometry": "gemma5"})], LANES)
    assert found.status is EvidenceStatus.ERROR
    assert "no shipped geometry is called 'gemma5'" in found.reason


# -- the savings table is the same maths


def test_savings_are_the_true_bytes():
    rows = {(row.model, row.context): {size.lane: size for size in row.lanes} for row in savings_table(LANES)}
    assert len(rows) == 6 * 4
    names = {"gemma4-e2b": "e2b", "gemma4-e4b": "e4b", "gemma4-26b-a4b": "26b", "gemma4-31b": "31b"}
    for model, name in names.items():
        assert {lane: f"{size.mib:.2f}" for lane, size in rows[model, 131072].items()} == {
            lane: TRUE_128K[lane][name] for lane in TRUE_128K
        }
    assert {lane: round(size.saving_pct, 2) for lane, size in rows["gemma4-12b", 8192].items()} == {
        "f16": 0.0,
        "q8": 46.88,
        "k3v4": 76.95,
        "k3v3": 80.47,
    }


def test_savings_of_a_hybrid_leave_its_state_out_and_tell_it():
    (row,) = [row for row in savings_table(LANES) if (row.model, row.context) == ("qwen3.6-27b", 8192)]
    assert (row.lanes[0].mib, row.recurrent_mib) == (512.0, 149.625)
