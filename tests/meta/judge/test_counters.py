"""Draft counters that cannot be, and those that only look odd."""

import pytest
from support.evidence_samples import GREEN, evidence, judged, with_example_limits

from fixtures.catalog.load import load_host
from fixtures.catalog.speculation import Speculation
from fixtures.judge.counters import impossible
from fixtures.records.verdict import Verdict

BOTH = Speculation(mtp_block=3, ngram_mod=True, ngram_n_match=8, ngram_n_min=4, ngram_n_max=16)
HOST = load_host("local", bare=True)
TWIN = with_example_limits(HOST.candidate("twin42-q8"))


def request(drafted=None, accepted=None, predicted=64, finish="length"):
    return {"draft_n": drafted, "draft_n_accepted": accepted, "predicted_n": predicted, "finish": finish}


@pytest.mark.parametrize(
    "fine",
    [
        request(),
        request(60, 45),
        request(63, 63),
        request(0, 0),
        request(9, 9, predicted=12, finish="stop"),
        request(80, 80, predicted=76, finish="word"),  # counted before the stop check: seen on a real server
        request(91, 91, predicted=76, finish="stop"),
    ],
)
def test_what_can_be(fine):
    assert impossible(fine, BOTH) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (request(20, 40), "40 tokens accepted of 20 drafted"),
        (request(100, 90, predicted=10), "at most 9 can be"),
        (request(64, 64), "64 drafted tokens accepted in an answer of 64 tokens, at most 63 can be"),
        (request(92, 92, predicted=76, finish="stop"), "at most 91 can be"),
        (request(60, None), "not all of them are counts"),
        (request(None, 3), "not all of them are counts"),
        (request(-1, -1), "not all of them are counts"),
        (request(float("nan"), 1), "not all of them are counts"),
        (request(60.5, 1), "not all of them are counts"),
        (request(True, True), "not all of them are counts"),
        (request("60", "45"), "not all of them are counts"),
    ],
)
def test_what_cannot_be(wrong, said):
    assert said in impossible(wrong, BOTH)


def test_a_short_draft_cannot_overshoot_far():
    assert impossible(request(20, 14, predicted=12, finish="stop"), Speculation(mtp_block=3)) != ""
    assert impossible(request(20, 13, predicted=12, finish="stop"), Speculation(mtp_block=3)) == ""


def drafting(*requests):
    """The verdict on the pooled acceptance of these requests."""
    sums = {key: sum(item[key] or 0 for item in requests) for key in ("draft_n", "draft_n_accepted")}
    share = sum(bool(item["draft_n"]) for item in requests)
    measured = {"accept_pct": 100.0, "estimator": "pooled", "requests": len(requests), "requests_with_drafts": share, **sums}
    measured |= {"requests_owed": len(requests), "owed_with_drafts": share}
    return judged(evidence("TPS-2", measured=measured, raw={"requests": list(requests)}), TWIN, HOST)


def test_drafts_in_the_first_of_twelve_requests_are_no_acceptance():
    found = drafting(request(60, 60), *[request()] * 11)
    assert found.verdict is Verdict.FAIL
    assert "11 of 12 requests drafted nothing" in found.reason


def test_an_empty_draft_is_no_draft():
    assert "1 of 2 requests drafted nothing" in drafting(request(60, 60), request(0, 0)).reason


def test_a_host_may_state_a_smaller_share():
    host = HOST.model_copy(update={"speed": HOST.speed.model_copy(update={"min_drafting_pct": 50.0})})
    measured, raw = GREEN["TPS-2"]
    half = {**measured, "owed_with_drafts": 1, "draft_n": 50, "draft_n_accepted": 48}
    one = {"requests": [raw["requests"][0], {"predicted_n": 64, "finish": "length"}]}
    assert judged(evidence("TPS-2", measured=half, raw=one), TWIN, host).verdict is Verdict.PASS
    assert judged(evidence("TPS-2", measured=half, raw=one), TWIN, HOST).verdict is Verdict.FAIL


def test_one_impossible_request_voids_all():
    assert drafting(request(60, 45), request(20, 40)).verdict is Verdict.INVALID
