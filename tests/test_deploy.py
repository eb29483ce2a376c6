"""Deploy: the service would start what was tested, its unit is valid, its port is free."""

import pytest

from fixtures.measure import fallback, hardening, installed, reviewed, service, units, verified
from fixtures.measure.audit import ports


@pytest.mark.requirement("DEP-4")
def test_command_lines(prove):
    """The rendered command lines per arm and dialect are the reviewed ones (`make review` shows and accepts changes)."""
    prove(reviewed.command_lines)


@pytest.mark.requirement("DEP-5")
def test_unit_text(prove):
    """The rendered unit - command, port, policies, hardening - is the reviewed one."""
    prove(reviewed.unit_text)


@pytest.mark.requirement("DEP-1")
def test_unit_is_valid(prove):
    """systemd-analyze verify has nothing to say about the unit rendered from the catalog."""
    prove(units.validity)


@pytest.mark.requirement("DEP-2")
def test_unit_starts_what_was_tested(prove):
    """The unit's command and environment are those of the running production arm, read from /proc."""
    prove(units.against_process)


@pytest.mark.requirement("DEP-6")
def test_installed_unit(prove):
    """The installed unit - files with drop-ins, as loaded and as running - starts the tested program, models, settings and policies."""
    prove(installed.installed_unit)


@pytest.mark.requirement("DEP-8")
def test_installed_unit_is_valid(prove):
    """systemd-analyze verify has nothing to say about the installed files; their program is there, and no other unit asks for the port."""
    prove(verified.installed_validity)


@pytest.mark.requirement("DEP-7")
def test_hardening(prove):
    """The unit, rendered and installed, hides no GPU and is as little exposed as the host asks."""
    prove(hardening.hardening)


@pytest.mark.requirement("DEP-3")
def test_service_port(prove):
    """The service port is free, or held by the candidate's own unit."""
    prove(ports.service_port)


@pytest.mark.requirement("DEP-9")
def test_fallback_backup(prove):
    """The fallback's backup is complete, what it starts is still on this machine, and the local copy is the same."""
    prove(fallback.backup)


@pytest.mark.requirement("DEP-10")
def test_restore_dry_run(prove):
    """The plan of a restore resolves to the backed-up unit and has no fault; nothing is changed."""
    prove(fallback.dry_run)


@pytest.mark.requirement("DEP-11")
def test_fallback_answers(prove):
    """The fallback is the backed-up one and gives a token: as restored with approval, or as it runs. Never restored by a test run."""
    prove(fallback.answering)


@pytest.mark.requirement("DEP-12")
def test_started_unit_answers(prove):
    """The installed unit, started by `./readiness smoke`, answers all owed prompts on its port and leaves nothing behind."""
    prove(service.smoked)


@pytest.mark.requirement("DEP-13")
def test_unit_comes_back(prove):
    """After kill -9 of its main process (`./readiness smoke CANDIDATE --kill-main`) systemd restarts the service in time."""
    prove(service.killed)
