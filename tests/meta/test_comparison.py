"""Two rows are compared only where engine, service configuration and prompt set agree; then with an interval."""

import pytest
from evidence_samples import evidence

from fixtures.judge.comparison import Finding, compare_speed
from fixtures.records.verdict import Verdict

SAME = {"engine": "e1", "service": "s1", "prompts": "p1", "command": "c1"}


def row(speeds, **identity):
    raw = {"requests": [{"predicted_per_second": speed} for speed in speeds]}
    return evidence("TPS-1", raw=raw).model_copy(update={"identity": SAME | identity})


def compare(reference, other, verdicts=(Verdict.PASS, Verdict.PASS)):
    return compare_speed(reference, other, verdicts)


SLOW, FAST = [50.0, 51.0, 49.5, 50.4, 50.1], [55.0, 56.1, 54.4, 55.4, 55.1]


def test_a_clear_difference_has_a_direction_and_an_interval():
    found = compare(row(SLOW), row(FAST, command="another lane"))
    assert found.finding is Finding.FASTER
    assert 1 < found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(1.1, abs=0.005)
    back = compare(row(FAST), row(SLOW))
    assert back.finding is Finding.SLOWER
    assert back.ratio == pytest.approx(1 / found.ratio)


def test_noise_is_no_difference():
    found = compare(row([50.0, 60.0, 40.0, 55.0]), row([52.0, 61.0, 43.0, 54.0]))
    assert found.finding is Finding.NO_DIFFERENCE
    assert found.low < 1 < found.high


@pytest.mark.parametrize("part", ["engine", "service", "prompts"])
def test_what_differs_keeps_rows_apart(part):
    found = compare(row(SLOW), row(FAST, **{part: "another"}))
    assert (found.finding, found.differing, found.ratio) == (Finding.INCOMPARABLE, (part,), None)


@pytest.mark.parametrize("part", ["engine", "service", "prompts"])
def test_what_is_unknown_keeps_rows_apart(part):
    one = row(SLOW)
    unknown = one.model_copy(update={"identity": {name: value for name, value in one.identity.items() if name != part}})
    assert compare(unknown, row(FAST)).differing == (part,)
    assert compare(row(FAST), unknown).differing == (part,)


def test_one_request_is_no_sample():
    assert compare(row(SLOW), row([55.0])).differing == ("requests",)


@pytest.mark.parametrize("unclean", [Verdict.INVALID, Verdict.WAIVED])
def test_only_clean_numbers_are_compared(unclean):
    for verdicts in ((unclean, Verdict.PASS), (Verdict.PASS, unclean)):
        assert compare(row(SLOW), row(FAST), verdicts).differing == ("conditions",)
    assert compare(row(SLOW), row(FAST), (Verdict.FAIL, Verdict.PASS)).finding is Finding.FASTER


def test_without_any_spread_there_is_no_interval():
    assert compare(row([50.0, 50.0]), row([60.0, 60.0])).differing == ("requests",)
