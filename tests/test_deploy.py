"""Deploy: the service would start what was tested, its unit is valid, its port is free."""

from functools import cache
from pathlib import Path

import pytest

from fixtures.catalog.load import host_names, load_host, load_lanes
from fixtures.deploy.preview import unit_preview
from fixtures.engine.command_matrix import command_matrix
from fixtures.engine.dialect import parse_dialect
from fixtures.measure import units
from fixtures.measure.audit import ports
from fixtures.records.digest import digest
from fixtures.records.evidence import EvidenceStatus, Observation

pytestmark = pytest.mark.deploy

HELP_TEXTS = Path(__file__).parent / "meta" / "data" / "help"


@cache
def dialects():
    """Every engine family that the suite knows, from its recorded help text."""
    families = sorted(file.name.removesuffix(".help.txt") for file in HELP_TEXTS.glob("*.help.txt"))
    return [
        parse_dialect((HELP_TEXTS / f"{name}.version.txt").read_text("utf-8"), (HELP_TEXTS / f"{name}.help.txt").read_text("utf-8"))
        for name in families
    ]


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
        rendered = render(public_host(gate.host.id))
        found = digest(rendered)
        return Observation(measured={"rendered_sha256": found, "reviewed_sha256": found if snapshot == rendered else "another"})

    return compare


@pytest.mark.requirement("DEP-4")
def test_command_lines(gate, reviewed, obtain, settle):
    """The rendered command lines per arm and dialect are the reviewed ones (refresh: --snapshot-update, then review the diff)."""

    def lines(host):
        matrix = command_matrix(host, load_lanes(), dialects())
        return {cell: text for cell, text in matrix.items() if cell.split()[0] == gate.candidate.id}

    settle(obtain(lambda subject: reviewed(lines)))


@pytest.mark.requirement("DEP-5")
def test_unit_text(gate, reviewed, obtain, settle):
    """The rendered unit - command, port, policies, hardening - is the reviewed one."""
    settle(obtain(lambda subject: reviewed(lambda host: unit_preview(host, load_lanes(), gate.candidate, dialects()))))


@pytest.mark.requirement("DEP-1")
def test_unit_is_valid(prove):
    """systemd-analyze verify has nothing to say about the unit rendered from the catalog."""
    prove(units.validity)


@pytest.mark.requirement("DEP-2")
def test_unit_starts_what_was_tested(prove):
    """The unit's command and environment are those of the running production arm, read from /proc."""
    prove(units.against_process)


@pytest.mark.requirement("DEP-3")
def test_service_port(prove):
    """The service port is free, or held by the candidate's own unit."""
    prove(ports.service_port)
