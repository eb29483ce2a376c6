"""Speed: mean decode t/s and pooled draft acceptance, over distinct prompts, under recorded conditions."""

import pytest

from fixtures.measure import at_depth, interleaved, speed


@pytest.mark.requirement("TPS-1")
def test_decode_speed(prove):
    """Mean decode speed reaches the reference, by an interval that decides it."""
    prove(speed.decode_speed)


@pytest.mark.requirement("TPS-3")
def test_drafters(prove):
    """MTP and ngram-mod each drafted and had something accepted: a live one must not hide a dead one."""
    prove(speed.drafters)


@pytest.mark.requirement("TPS-2")
def test_acceptance(prove):
    """Accepted over drafted tokens, pooled over all requests, reaches the reference."""
    prove(speed.acceptance)


@pytest.mark.requirement("TPS-4")
def test_answers(prove):
    """Each answer is read: of the length asked for, readable, in the language of its prompt. Speed alone passes garbage."""
    prove(speed.answers)


@pytest.mark.requirement("TPS-5")
def test_ceiling(prove):
    """No speed is above what the memory's bandwidth allows; one far below is told with the ratio."""
    prove(speed.ceiling)


@pytest.mark.requirement("TPS-6")
def test_drafting_pays(prove):
    """Interleaved, each side launched twice: faster than with nothing drafting, not slower than with one drafter alone."""
    prove(interleaved.compared)


@pytest.mark.requirement("TPS-7")
def test_at_depth(prove):
    """Speed with a short, a long and a longer conversation in the cache, and what a token's time is made of there."""
    prove(at_depth.speeds)
