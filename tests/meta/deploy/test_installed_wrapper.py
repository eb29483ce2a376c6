"""A wrapper script that was tested in place of an engine is read like a unit's."""

from types import SimpleNamespace

import pytest
from support.installed_units import POLICY, UNIT

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.deploy import installed as deployed
from fixtures.deploy.comparison import compare
from fixtures.engine.command import CommandLine
from fixtures.engine.dialects import recorded_texts
from fixtures.measure import installed as measured


def arm_of(bench, monkeypatch, text):
    script = bench.script("wrapper/llama-server", text)
    line = [str(script), *bench.argv]
    env = {"PATH": "/usr/bin:/bin", **POLICY}
    command = CommandLine(argv=tuple(line), env=env, policy_env=POLICY)
    monkeypatch.setattr(measured, "service_command", lambda _: command)
    monkeypatch.setattr(measured, "ask_program", lambda *_: recorded_texts("upstream")[1].read_text(encoding="utf-8"))
    facts = SimpleNamespace(block_count=48)
    models = SimpleNamespace(target=lambda _: facts)
    made = SimpleNamespace(prepared_as=lambda _: None, host=load_host("local", bare=True), candidate=None, models=models)
    return script, measured.tested_arm(made)


def compared(bench, tested):
    unit = deployed.unit_by_files(UNIT, Units(directory=str(bench.units), scope="user"), tested.program)
    return compare(unit.engine, tested)


@pytest.mark.parametrize("guard", ["", "if [ -e /nowhere ]; then exit 1; fi\n"], ids=["read", "opaque"])
def test_the_unit_that_starts_the_script_is_the_tested_one(bench, monkeypatch, guard):
    text = f'#!/bin/sh\n{guard}export TURBO_AUTO_ASYMMETRIC=0\nexec {bench.program} "$@" --cache-ram 0\n'
    script, tested = arm_of(bench, monkeypatch, text)
    bench.install(bench.line(program=script))
    found = compared(bench, tested)
    assert (found.differences, found.hidden) == ([], [])


def test_the_program_alone_lacks_what_the_script_adds(bench, monkeypatch):
    text = f'#!/bin/sh\nexport TURBO_AUTO_ASYMMETRIC=0\nexec {bench.program} "$@" --cache-ram 0\n'
    _, tested = arm_of(bench, monkeypatch, text)
    bench.install(bench.line())
    said = " ".join(compared(bench, tested).differences)
    assert "lacks the variable TURBO_AUTO_ASYMMETRIC=0" in said
    assert "does not say --cache-ram (default 8192), tested was 0" in said


def test_another_script_is_another_program(bench, monkeypatch):
    text = f'#!/bin/sh\nif true; then exec {bench.program} "$@"; fi\n'
    _, tested = arm_of(bench, monkeypatch, text)
    bench.install(bench.line(program=bench.script("other/llama-server", text + "# changed\n")))
    found = compared(bench, tested)
    assert any("`if`" in each for each in found.hidden)
