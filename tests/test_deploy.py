"""Deploy: the service would start what was tested, its unit is valid, its port is free."""

from functools import cache

import pytest

from fixtures.catalog.load import host_names, load_host, load_lanes
from fixtures.deploy.preview import unit_preview
from fixtures.engine.command_matrix import command_matrix
from fixtures.engine.dialect import recorded_dialects
from fixtures.measure import units as deploy
from fixtures.measure.audit import artefacts as audit
from fixtures.records.evidence import EvidenceStatus, Observation

pytestmark = pytest.mark.deploy


@cache
def public_host(host_id):
    """The shipped host without its overlay: what was reviewed must not depend on one machine's paths."""
    return load_host(host_id, bare=True)


@pytest.fixture
def reviewed(gate, snapshot):
    """Compare a rendered text with its reviewed snapshot; only shipped hosts have one."""

    def compare(render):
        if gate.host.id not in host_names():
            return Observation(
                status=EvidenceStatus.BLOCKED, reason=f"host {gate.host.id} is not shipped: nobody reviewed a snapshot of it"
            )
        return Observation(measured={"reviewed": snapshot == render(public_host(gate.host.id))})

    return compare


@pytest.mark.requirement("DEP-4")
def test_command_lines(gate, reviewed, obtain, settle):
    """The rendered command lines per arm and dialect are the reviewed ones (refresh: --snapshot-update, then review the diff)."""

    def lines(host):
        matrix = command_matrix(host, load_lanes(), recorded_dialects())
        return {cell: text for cell, text in matrix.items() if cell.split()[0] == gate.candidate.id}

    settle(obtain(lambda subject: reviewed(lines)))


@pytest.mark.requirement("DEP-5")
def test_unit_text(gate, reviewed, obtain, settle):
    """The rendered unit - command, port, policies, hardening - is the reviewed one."""
    settle(obtain(lambda subject: reviewed(lambda host: unit_preview(host, load_lanes(), gate.candidate, recorded_dialects()))))


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
