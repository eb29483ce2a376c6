"""Two rows are compared only where engine, service configuration and prompt set agree; then with an interval."""

import pytest
from support.evidence_samples import REQUIREMENTS, evidence

from fixtures.judge.comparison import Finding, compare
from fixtures.records.verdict import Verdict

SPEED, DIVERGENCE = REQUIREMENTS["TPS-1"].compared, REQUIREMENTS["PPL-2"].compared
SAME = {"engine": "e1", "service": "s1", "prompts": "p1", "command": "c1"}


def row(speeds, **identity):
    raw = {"speeds": list(speeds)}
    return evidence("TPS-1", raw=raw).model_copy(update={"identity": SAME | identity})


def compare_speed(reference, other, verdicts=(Verdict.PASS, Verdict.PASS)):
    return compare(SPEED, reference, other, verdicts)


SLOW, FAST = [50.0, 51.0, 49.5, 50.4, 50.1], [55.0, 56.1, 54.4, 55.4, 55.1]


def test_a_clear_difference_has_a_direction_and_an_interval():
    found = compare_speed(row(SLOW), row(FAST, command="another lane"))
    assert found.finding is Finding.FASTER
    assert 1 < found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(1.1, abs=0.005)
    back = compare_speed(row(FAST), row(SLOW))
    assert back.finding is Finding.SLOWER
    assert back.ratio == pytest.approx(1 / found.ratio)


def test_noise_is_no_difference():
    found = compare_speed(row([50.0, 60.0, 40.0, 55.0]), row([52.0, 61.0, 43.0, 54.0]))
    assert found.finding is Finding.NO_DIFFERENCE
    assert found.low < 1 < found.high


@pytest.mark.parametrize("part", ["engine", "service", "prompts"])
def test_what_differs_keeps_rows_apart(part):
    found = compare_speed(row(SLOW), row(FAST, **{part: "another"}))
    assert (found.finding, found.differing, found.ratio) == (Finding.INCOMPARABLE, (part,), None)


@pytest.mark.parametrize("part", ["engine", "service", "prompts"])
def test_what_is_unknown_keeps_rows_apart(part):
    one = row(SLOW)
    unknown = one.model_copy(update={"identity": {name: value for name, value in one.identity.items() if name != part}})
    assert compare_speed(unknown, row(FAST)).differing == (part,)
    assert compare_speed(row(FAST), unknown).differing == (part,)


def test_one_request_is_no_sample():
    assert compare_speed(row(SLOW), row([55.0])).differing == ("requests",)


@pytest.mark.parametrize("unclean", [Verdict.INVALID, Verdict.WAIVED])
def test_only_clean_numbers_are_compared(unclean):
    for verdicts in ((unclean, Verdict.PASS), (Verdict.PASS, unclean)):
        assert compare_speed(row(SLOW), row(FAST), verdicts).differing == ("conditions",)
    assert compare_speed(row(SLOW), row(FAST), (Verdict.FAIL, Verdict.PASS)).finding is Finding.FASTER


def test_without_any_spread_there_is_no_interval():
    assert compare_speed(row([50.0, 50.0]), row([60.0, 60.0])).differing == ("requests",)


KLD_SAME = {"engine": "e1", "models": "m1", "corpus": "c1", "lane": "l1"}


def far(chunks, **identity):
    """A record of these mean divergences of each chunk, as llama-perplexity prints them: the mean so far."""
    running = [f"{sum(chunks[:n]) / n:.5f}" for n in range(1, len(chunks) + 1)]
    return evidence("PPL-2", raw={"running": running}).model_copy(update={"identity": KLD_SAME | identity})


def compare_far(reference, other, verdicts=(Verdict.PASS, Verdict.PASS)):
    return compare(DIVERGENCE, reference, other, verdicts)


Q8, Q4 = [0.011, 0.010, 0.012, 0.009], [0.13, 0.11, 0.15, 0.12]


def test_divergences_are_paired_chunk_by_chunk():
    found = compare_far(far(Q8), far(Q4, lane="another"))
    assert found.finding is Finding.FURTHER
    assert 1 < found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(12.1, abs=0.2)
    assert compare_far(far(Q4), far(Q8)).finding is Finding.CLOSER
    # 5 % on every chunk is seen although the chunks themselves differ by 30 %: that is what pairing is for
    assert compare_far(far(Q4), far([1.05 * nats + 0.001 * (-1) ** n for n, nats in enumerate(Q4)])).finding is Finding.FURTHER


def test_another_engine_may_be_compared_and_reproduction_is_no_difference():
    found = compare_far(far(Q8), far(Q8, engine="another"))
    assert (found.finding, found.ratio) == (Finding.NO_DIFFERENCE, 1.0)
    assert compare_far(far(Q8), far([0.010, 0.011, 0.011, 0.010])).finding is Finding.NO_DIFFERENCE


@pytest.mark.parametrize("part", ["models", "corpus"])
def test_divergences_over_something_else_are_kept_apart(part):
    assert compare_far(far(Q8), far(Q4, **{part: "another"})).differing == (part,)


@pytest.mark.parametrize("other", [Q4[:3], Q4[:1], [], [0.0, 0.0, 0.0, 0.0]])
def test_chunks_must_pair(other):
    assert compare_far(far(Q8), far(other)).differing == ("chunks",)


def test_only_clean_divergences_are_compared():
    assert compare_far(far(Q8), far(Q4), (Verdict.WAIVED, Verdict.PASS)).differing == ("conditions",)


def test_one_factor_for_all_chunks_has_no_interval():
    found = compare_far(far([0.01, 0.01]), far([0.02, 0.02]))
    assert (found.differing, found.ratio) == (("chunks",), None)
