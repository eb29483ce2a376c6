"""The rule for side lanes: all four criteria, shown and not supposed, or no promotion; and by which of them it is not."""

import pytest
from support.evidence_samples import evidence

from fixtures.catalog.load import load_requirements
from fixtures.judge.decision import Measured
from fixtures.judge.promotion import Contender, Outcome, missed, outcomes
from fixtures.records.verdict import Verdict

HOW = next(requirement.compared for requirement in load_requirements() if requirement.id == "PPL-2")
IDENTITY = {"engine": "e", "corpus": "c", "devices": "d"}
STEPS = (1.0, 1.3, 0.9, 1.1, 1.05)
PASSED, FAILED = {"KV-1": Verdict.PASS, "STA-1": Verdict.PASS}, {"KV-1": Verdict.PASS, "STA-1": Verdict.FAIL}
ASKED = {"COH-1 a": Verdict.PASS, "COH-1 b": Verdict.PASS}


def running(value, wobble):
    """Running means over chunks whose numbers are about `value` times STEPS."""
    chunks = [value * step * (1 + wobble * (-1) ** place) for place, step in enumerate(STEPS)]
    return [sum(chunks[: n + 1]) / (n + 1) for n in range(len(chunks))]


def numbers(requirement, value, models, wobble=0.001):
    return evidence(requirement, raw={"running": running(value, wobble)}).model_copy(update={"identity": IDENTITY | {"models": models}})


def contender(name, *, ppl=25.0, kld=0.2, models="q4", ratio=None, wobble=0.001, **changed):
    found = {
        "loader": PASSED,
        "coherence": ASKED,
        "perplexity": numbers("PPL-1", ppl, models, wobble),
        "divergence": Measured(HOW, numbers("PPL-2", kld, models, wobble), Verdict.PASS, kld),
        "interleaved": {"old": ratio} if ratio else {},
    }
    return Contender(name, **(found | changed))


OLD = contender("old")
FASTER = (1.05, 1.12)


def fp4(**changed):
    """A challenger of other weights that wins everything, but for what is changed."""
    return contender("fp4", **({"ppl": 24.0, "models": "fp4", "ratio": FASTER, "wobble": 0.002} | changed))


def test_who_wins_by_all_four_may_be_promoted():
    found = outcomes(fp4(), OLD)
    assert found == {"loader": Outcome.HOLDS, "quality": Outcome.BEATS, "coherence": Outcome.HOLDS, "speed": Outcome.BEATS}
    assert missed(found) == ()


@pytest.mark.parametrize(
    ("changed", "criterion", "outcome"),
    [
        ({"loader": FAILED}, "loader", Outcome.LOSES),
        ({"loader": {}}, "loader", Outcome.UNKNOWN),
        ({"loader": {"KV-1": Verdict.PASS}}, "loader", Outcome.UNKNOWN),
        ({"loader": PASSED | {"KV-1": Verdict.WAIVED}}, "loader", Outcome.UNKNOWN),
        ({"coherence": ASKED | {"COH-1 b": Verdict.FAIL}}, "coherence", Outcome.LOSES),
        ({"coherence": ASKED | {"COH-1 b": Verdict.NOT_RUN}}, "coherence", Outcome.UNKNOWN),
        ({"coherence": {"COH-1 a": Verdict.PASS}}, "coherence", Outcome.UNKNOWN),
        ({"ppl": 26.0}, "quality", Outcome.LOSES),
        ({"ppl": 24.99, "wobble": 0.05}, "quality", Outcome.TIES),
        ({"perplexity": None}, "quality", Outcome.UNKNOWN),
        ({"perplexity": evidence("PPL-1", raw={"running": running(20.0, 0)})}, "quality", Outcome.UNKNOWN),
        ({"ratio": (0.98, 1.04)}, "speed", Outcome.TIES),
        ({"ratio": (0.90, 0.95)}, "speed", Outcome.LOSES),
        ({"ratio": None}, "speed", Outcome.UNKNOWN),
    ],
)
def test_what_is_lost_tied_or_not_known_keeps_it_from_promotion(changed, criterion, outcome):
    found = outcomes(fp4(**changed), OLD)
    assert found[criterion] is outcome
    assert missed(found) == (criterion,)


def test_of_the_same_weights_the_divergence_decides_and_no_perplexity():
    """Perplexity falls while the answers move away: docs/facts.md#perplexity-and-divergence."""
    trap = contender("trap", ppl=15.0, kld=1.7, ratio=FASTER, wobble=0.002)
    assert missed(outcomes(trap, OLD)) == ("quality",)


def test_another_drafter_of_the_same_weights_and_cache_costs_no_quality():
    """DFlash beside MTP: the same divergence to the last digit cannot be bettered."""
    found = outcomes(contender("dflash", ratio=FASTER), OLD)
    assert (found["quality"], missed(found)) == (Outcome.HOLDS, ())


def test_what_the_incumbent_fails_is_won_by_passing_it():
    assert outcomes(fp4(), contender("old", loader=FAILED))["loader"] is Outcome.BEATS


def test_a_speed_against_another_lane_says_nothing():
    assert outcomes(fp4(), contender("other"))["speed"] is Outcome.UNKNOWN
