"""Everything open has its next command, complete and ready to be copied."""

import pytest
from support.report_pages import blocks_of, page_of, summed
from support.report_sample import FIVE_STATES, PORT_TAKEN, five_states, host_of, run_of

from fixtures.catalog.requirement import Tier
from fixtures.records.blocked import NOTHING_RECORDED, OUTSIDE_WINDOW, WINDOW_ENDED
from fixtures.records.verdict import Judgement, Verdict
from fixtures.report.blocks import Steps
from fixtures.report.commands import signoff_command
from fixtures.report.last_screen import render_last
from fixtures.report.markdown import render_markdown


def test_each_state_has_its_right_next_command():
    steps = {(step.candidates, step.verdict): step for step in summed(five_states().verdict).steps}
    blocked = steps[("31b-k3v3",), Verdict.BLOCKED]
    assert blocked.commands == ("pytest --host dgx -m audit -k 31b-k3v3", "pytest --host dgx -k 31b-k3v3")
    assert blocked.reasons == (PORT_TAKEN,)
    assert steps[("e4b-k3v4",), Verdict.INVALID].commands == (
        "pytest --host dgx -m audit -k e4b-k3v4",
        "pytest --host dgx -m tps -k e4b-k3v4",
    )
    failed = [step for step in summed(five_states().verdict).steps if step.verdict == Verdict.FAIL]
    assert [step.commands for step in failed] == [
        ("pytest --host dgx -m coherence -k 26b-k3v3 --fresh",),
        ("pytest --host dgx -m tps -k 26b-k3v3 --fresh",),
    ]
    assert not [step for step in steps.values() if {"26b-k3v4", "e4b-k3v3"} & set(step.candidates)], "passing and waived are not open"


def test_a_blocker_that_candidates_share_is_one_step_and_comes_first():
    states = {**FIVE_STATES, "e4b-k3v4": Verdict.BLOCKED}
    states["26b-k3v3"] = Verdict.PASS
    first = summed(run_of(host_of("dgx"), states).verdict).steps[0]
    assert first.candidates == ("31b-k3v3", "e4b-k3v4")
    assert first.commands == ("pytest --host dgx -m audit", "make signoff HOST=dgx")


@pytest.mark.parametrize(
    "reason", [NOTHING_RECORDED, f"{OUTSIDE_WINDOW} of 5 min: give --window again", f"a/production was stopped: {WINDOW_ENDED} after 5 min"]
)
def test_what_the_call_alone_kept_from_running_has_nothing_in_its_way(reason):
    states = dict.fromkeys(("31b-k3v3", "e4b-k3v4"), Verdict.BLOCKED)
    verdict = run_of(host_of("dgx"), states).verdict
    nothing = Judgement(verdict=Verdict.BLOCKED, reason=reason)
    candidates = tuple(
        one.model_copy(
            update={
                "gates": tuple(
                    gate.model_copy(update={"judgement": nothing}) if gate.judgement.verdict is Verdict.BLOCKED else gate
                    for gate in one.gates
                )
            }
        )
        for one in verdict.candidates
    )
    first = summed(verdict.model_copy(update={"candidates": candidates})).steps[0]
    assert first.commands == ("make signoff HOST=dgx",), "no audit: nothing is in the way"


def test_the_failure_that_decides_comes_before_a_shared_blocker():
    states = {**FIVE_STATES, "e4b-k3v4": Verdict.BLOCKED}
    steps = summed(run_of(host_of("dgx"), states).verdict).steps
    assert [step.verdict for step in steps[:3]] == [Verdict.FAIL, Verdict.FAIL, Verdict.BLOCKED]
    assert steps[0].candidates == ("26b-k3v3",)
    compared = summed(run_of(host_of("dgx"), {**FIVE_STATES, "26b-k3v3": Verdict.PASS, "31b-k3v4": Verdict.FAIL}).verdict).steps
    assert compared[0].verdict is Verdict.BLOCKED, "what is never promoted decides nothing"


def test_what_was_tried_comes_before_what_was_left_out():
    states = {"31b-k3v3": Verdict.NOT_RUN, "e4b-k3v4": Verdict.BLOCKED}
    assert [step.verdict for step in summed(run_of(host_of("dgx"), states).verdict).steps][:2] == [Verdict.BLOCKED, Verdict.NOT_RUN]


def test_what_a_live_server_was_asked_is_asked_of_it_again_and_nothing_else_is():
    options = ("--host", "dgx", "--attach=http://127.0.0.1:8092")
    steps = summed(run_of(host_of("dgx"), {"26b-k3v3": Verdict.BLOCKED, "26b-k3v4": Verdict.NOT_RUN}).verdict, options).steps
    (blocked,) = [step for step in steps if step.verdict is Verdict.BLOCKED]
    assert blocked.commands == ("pytest --host dgx --attach=http://127.0.0.1:8092 -k 26b-k3v3",), (
        "no audit of ports that nobody launches on"
    )
    (left_out,) = [step for step in steps if step.verdict is Verdict.NOT_RUN]
    assert left_out.commands == ("pytest --host dgx -k 26b-k3v4",)
    assert signoff_command(options) == "make signoff HOST=dgx"


def test_a_gate_that_says_more_of_the_same_blocker_is_no_step_of_its_own():
    verdict = five_states().verdict
    advised = f"{PORT_TAKEN}; or wait until it has gone"
    (blocked,) = [candidate for candidate in verdict.candidates if candidate.candidate == "31b-k3v3"]
    last = next(gate for gate in reversed(blocked.gates) if gate.judgement.verdict == Verdict.BLOCKED and gate.tier == Tier.REQUIRED)
    longer = last.model_copy(update={"judgement": last.judgement.model_copy(update={"reason": advised})})
    gates = tuple(longer if gate is last else gate for gate in blocked.gates)
    candidates = tuple(c.model_copy(update={"gates": gates}) if c is blocked else c for c in verdict.candidates)
    before, after = (
        [step for step in summed(seen).steps if step.verdict == Verdict.BLOCKED]
        for seen in (verdict, verdict.model_copy(update={"candidates": candidates}))
    )
    assert [(step.requirements, step.commands) for step in after] == [(step.requirements, step.commands) for step in before]
    assert [step.reasons for step in after] == [(advised,)], "the reason that says most stands for all"


def test_what_has_not_run_is_one_command_a_candidate():
    steps = summed(run_of(host_of("dgx"), {"26b-k3v4": Verdict.NOT_RUN}).verdict).steps
    assert [step.commands for step in steps] == [("pytest --host dgx -k 26b-k3v4",)]


def test_an_undecided_model_is_a_next_step():
    steps = next(block for block in blocks_of(page_of(five_states()), "runbook") if isinstance(block, Steps)).steps
    assert [step.candidate for step in steps if step.verdict is None] == ["gemma4-31b"]


def test_what_a_waiver_lets_through_comes_last_with_its_end_and_the_command_that_measures_it():
    waived = next(block for block in blocks_of(page_of(five_states()), "runbook") if isinstance(block, Steps)).steps[-1]
    assert (waived.candidate, waived.verdict) == ("e4b-k3v3", Verdict.WAIVED)
    assert waived.commands == ("pytest --host dgx -m tps -k e4b-k3v3 --fresh",)
    assert "until 2026-12-01T00:00Z" in repr(waived.reasons)


def test_commands_repeat_what_the_run_was_given():
    sample = five_states()
    options = ("--host=/etc/my box.toml", "--waivers=/etc/w.toml", "--reports=/srv/reports")
    page = page_of(sample, manifest=sample.manifest.model_copy(update={"options": options}))
    shell = "pytest '--host=/etc/my box.toml' --waivers=/etc/w.toml --reports=/srv/reports"
    (steps,) = [block for block in blocks_of(page, "runbook") if isinstance(block, Steps)]
    commands = [command for step in steps.steps for command in step.commands]
    assert all(command.startswith(f"{shell} ") for command in commands)
    assert page.banner.next_command == commands[0]
    assert f"{shell} --signoff" in repr(blocks_of(page, "runbook"))
    assert f"{shell} --signoff" in render_last(summed(sample.verdict, options), 100)
    assert f"`{commands[0]}`" in render_markdown(summed(sample.verdict, options))


def test_commands_are_quoted_for_the_shell():
    verdict = five_states().verdict.model_copy(update={"host": "a b; rm -rf /"})
    assert summed(verdict).steps[0].commands[0] == "pytest --host 'a b; rm -rf /' -m coherence -k 26b-k3v3 --fresh"
