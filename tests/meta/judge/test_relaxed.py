"""What a sign-off does without stands in its headline, in every report."""

import pytest
from support.signoff_samples import HOST, REQUIREMENTS, all_green, run

from fixtures.catalog.host import Retiered
from fixtures.catalog.load import load_host, weight_of
from fixtures.catalog.requirement import Tier
from fixtures.catalog.waivers import Waiver
from fixtures.judge.relaxed import relaxations
from fixtures.records.verdict import SignOff
from fixtures.report.last_screen import render_last
from fixtures.report.markdown import render_markdown
from fixtures.report.summary import summary_of

WHY = "the texts are being rewritten"
DEMOTED = HOST.model_copy(update={"tiers": {"COH-1": Retiered(tier=Tier.ADVISORY, reason=WHY, who="lee")}})


def told(host, waivers=()):
    found = [(item.requirement, item.how, item.candidates, item.reason, item.who) for item in relaxations(host, REQUIREMENTS, waivers)]
    return [item for item in found if item[1] != "undecided"]


def with_exempt(candidate_id, exempt, host=HOST):
    candidates = [c.model_copy(update={"exempt": exempt if c.id == candidate_id else {}}) for c in host.candidates]
    return host.model_copy(update={"candidates": tuple(candidates)})


BARE = with_exempt("none", {})


def test_nothing_is_relaxed_where_nothing_is():
    assert told(BARE) == []


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ({"COH-1": Retiered(tier=Tier.ADVISORY, reason=WHY, who="lee")}, [("COH-1", "demoted", (), WHY, "lee")]),
        ({"COH-1": Retiered(tier=Tier.ADVISORY)}, [("COH-1", "demoted", (), "", "")]),
        ({"KV-4": Retiered(tier=Tier.REQUIRED)}, []),
        ({"KV-4": Retiered(tier=Tier.ADVISORY)}, []),
        ({"COH-1": Retiered(tier=Tier.REQUIRED)}, []),
        ({"KV-4": Retiered(tier=Tier.REQUIRED, reason=WHY, who="lee")}, []),
    ],
    ids=["demoted", "demoted-in-an-older-run", "promoted", "advisory-anyway", "required-anyway", "promoted-by-name"],
)
def test_tiers(tiers, expected):
    assert told(BARE.model_copy(update={"tiers": tiers})) == expected


@pytest.mark.parametrize(
    ("exempt", "expected"),
    [
        ({"KV-1": "no such cache"}, [("KV-1", "exempted", ("twin42-q8",), "no such cache", "")]),
        ({"PPL-2": "advisory anyway"}, []),
        ({"KV-1": "a", "COH-1": "b"}, [("KV-1", "exempted", ("twin42-q8",), "a", ""), ("COH-1", "exempted", ("twin42-q8",), "b", "")]),
    ],
)
def test_exemptions(exempt, expected):
    assert sorted(told(with_exempt("twin42-q8", exempt))) == sorted(expected)


def test_an_exemption_from_what_is_not_owed_relaxes_nothing():
    host = with_exempt("gemma3-270m-f16", {"TPS-2": "drafts nothing"})
    nothing = {"mtp_block": None, "ngram_mod": False}
    candidates = [c.model_copy(update={"speculation": c.speculation.model_copy(update=nothing)}) for c in host.candidates]
    assert told(host.model_copy(update={"candidates": tuple(candidates)})) == []


def test_a_form_that_is_not_asked_relaxes_a_promoted_gate():
    promoted = BARE.model_copy(update={"tiers": {"COH-4": Retiered(tier=Tier.REQUIRED)}})
    found = told(promoted)
    assert ("COH-4", "exempted", ("smollm2-135m-q8 facts", "smollm2-135m-q8 rare", "smollm2-135m-q8 json")) in [one[:3] for one in found]
    assert {one[0] for one in found} == {"COH-4"}
    assert told(BARE) == [], "what is advisory is shown on its candidate's card alone"


def test_candidates_exempt_for_one_reason_stand_together():
    reason = "nothing is installed on the stand-in host; DEP-1 and DEP-2 check the rendered unit"
    found = [entry for entry in told(HOST) if entry[3] == reason]
    assert len(found) <= 1


@pytest.mark.parametrize(("requirement", "counts"), [("KV-1", True), ("KV-4", False)])
def test_waivers(requirement, counts):
    waiver = Waiver(
        requirement=requirement, candidate="twin42-q8", reason="known issue 17", who="lee", date="2026-11-24", expires="2026-12-24T00:00Z"
    )
    expected = [(requirement, "waived", ("twin42-q8",), "known issue 17", "lee")] if counts else []
    assert told(BARE, [waiver]) == expected


@pytest.mark.parametrize("lang", ["en", "zh-TW"])
def test_every_report_says_so_beside_its_headline(lang):
    verdict = run(all_green(), DEMOTED)
    assert verdict.master is SignOff.READY
    summary = summary_of(verdict, (), set(range(1, 10_000)), ())
    lines = render_last(summary, 400).splitlines()
    assert f"  ~ COH-1 demoted by host file: {WHY} (lee)" in lines[:6]
    markdown = render_markdown(summary, lang).splitlines()
    assert any("COH-1" in line and WHY in line and "(lee)" in line for line in markdown[:12])


def test_what_nobody_decided_is_an_open_decision():
    """A lane without a limit of quality: gated all the same, so its name and the question stand in the headline."""
    assert [item for item in relaxations(HOST, REQUIREMENTS, ()) if item.how == "undecided"] == [], "every lane of host local has its limit"
    dgx = load_host("dgx", bare=True)
    (found,) = (item for item in relaxations(dgx, REQUIREMENTS, ()) if item.how == "undecided")
    assert (found.requirement, found.who) == ("PPL-2", "")
    assert {"31b-k3v3", "26b-k3v4", "e4b-k3v3"} <= set(found.candidates)
    bare = [c.model_copy(update={"limits": {}}) if c.id == "gemma3-270m-q8" else c for c in HOST.candidates]
    verdict = run(all_green(), HOST.model_copy(update={"candidates": tuple(bare)}))
    summary = summary_of(verdict, (), range(1, 999), ())
    said = "Open decision: nobody decided how much quality gemma3-270m-q8 may cost (PPL-2 has no limit)"
    assert said in " ".join(render_last(summary, 200).split())
    assert "Open decision: nobody decided how much quality gemma3-270m-q8 may cost" in render_markdown(summary)


def test_a_limit_of_quality_makes_its_gate_required_and_the_host_file_may_say_otherwise():
    requirement = next(item for item in REQUIREMENTS if item.id == "PPL-2")
    candidate = HOST.candidate("gemma3-270m-q8")
    signed = HOST.model_copy(update={"tiers": {"PPL-2": Retiered(tier=Tier.ADVISORY, reason=WHY, who="lee")}})
    without = candidate.model_copy(update={"limits": {}})
    assert [weight_of(requirement, *pair) for pair in ((candidate, HOST), (candidate, signed), (without, HOST))] == [
        Tier.REQUIRED,
        Tier.ADVISORY,
        Tier.ADVISORY,
    ]
