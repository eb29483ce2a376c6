"""The drafters' part in the speed requests: what is owed, what is told, what stays unproven."""

import pytest

from fixtures.measure.speed import SpeedRequest, SpeedRun, drafters_of
from fixtures.records.blocked import Blocked
from fixtures.records.engine import DrafterFacts

REQUESTS = (SpeedRequest(predicted_n=64, draft_n=50, draft_n_accepted=40, finish="length"), SpeedRequest(predicted_n=64, finish="length"))
MTP, NGRAM = DrafterFacts(name="mtp", drafted=40, accepted=30), DrafterFacts(name="ngram-mod", drafted=10, accepted=10)


def test_each_drafter_has_its_counts():
    found = drafters_of(SpeedRun(REQUESTS, (MTP, NGRAM)), ("mtp", "ngram-mod"), ("mtp", "ngram-mod"))
    counts = {"mtp_drafted": 40, "mtp_accepted": 30, "ngram-mod_drafted": 10, "ngram-mod_accepted": 10}
    assert found.measured == counts | {"mtp_accept_pct": 75.0, "ngram-mod_accept_pct": 100.0}
    assert found.raw["owed"] == ["mtp", "ngram-mod"]


def test_a_drafter_that_the_log_does_not_name_did_nothing():
    found = drafters_of(SpeedRun(REQUESTS, (MTP,)), ("mtp", "ngram-mod"), ("mtp", "ngram-mod"))
    assert (found.measured["ngram-mod_drafted"], found.measured["ngram-mod_accepted"]) == (0, 0)


@pytest.mark.parametrize("silent", [None, ()])
def test_a_single_drafter_is_told_by_the_answers(silent):
    found = drafters_of(SpeedRun(REQUESTS, silent), ("ngram-mod",), ("ngram-mod",))
    assert found.measured == {"ngram-mod_drafted": 50, "ngram-mod_accepted": 40, "ngram-mod_accept_pct": 80.0}


@pytest.mark.parametrize("silent", [None, ()])
def test_two_drafters_that_nobody_tells_apart_are_blocked(silent):
    with pytest.raises(Blocked, match="tells no drafter apart"):
        drafters_of(SpeedRun(REQUESTS, silent), ("mtp", "ngram-mod"), ("mtp", "ngram-mod"))


def test_what_a_set_does_not_owe_is_not_owed():
    assert drafters_of(SpeedRun(REQUESTS, (MTP, NGRAM)), ("mtp", "ngram-mod"), ("mtp",)).raw["owed"] == ["mtp"]
