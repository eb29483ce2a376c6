"""Deploy: the service would start what was tested, its unit is valid, its port is free."""

import pytest

from fixtures.measure import reviewed
from fixtures.measure import units as deploy
from fixtures.measure.audit import artefacts as audit

pytestmark = pytest.mark.deploy


@pytest.mark.requirement("DEP-4")
def test_command_lines(obtain, settle):
    """The rendered command lines per arm and dialect are the reviewed ones (`make review` shows and accepts changes)."""
    settle(obtain(reviewed.command_lines))


@pytest.mark.requirement("DEP-5")
def test_unit_text(obtain, settle):
    """The rendered unit - command, port, policies, hardening - is the reviewed one."""
    settle(obtain(reviewed.unit_text))


@pytest.mark.runtime
@pytest.mark.requirement("DEP-1")
def test_unit_is_valid(obtain, settle):
    """systemd-analyze verify has nothing to say about the unit rendered from the catalog."""
    settle(obtain(deploy.unit_validity))


@pytest.mark.runtime
@pytest.mark.requirement("DEP-2")
def test_unit_starts_what_was_tested(obtain, settle):
    """The unit's command and environment are those of the running production arm, read from /proc."""
    settle(obtain(deploy.unit_against_process))


@pytest.mark.runtime
@pytest.mark.requirement("DEP-3")
def test_service_port(gate, obtain, settle):
    """The service port is free, or held by the candidate's own unit."""
    settle(obtain(lambda subject: audit.port(gate.candidate.port, gate.candidate.unit)))
