"""Audit: is everything there, and may we look? Read-only, builds and launches nothing, takes no lock, waits for none."""

import pytest

from fixtures.measure.audit import artefacts as audit
from fixtures.measure.audit import engine as audit_engine
from fixtures.measure.audit import machine as audit_state
from fixtures.measure.audit import scripts as audit_scripts
from fixtures.measure.audit.unit import unit_file

pytestmark = [pytest.mark.audit, pytest.mark.runtime]


@pytest.mark.requirement("AUD-1")
def test_artefacts(gate, models, obtain, settle):
    """Target and drafter exist, are complete GGUFs of the stated type, and belong together."""
    settle(obtain(audit.artefacts, identity=lambda: {"files": audit.file_states(models, gate.candidate)}))


@pytest.mark.requirement("AUD-2")
def test_test_port(gate, obtain, settle):
    """The port on which gates launch the candidate is free or ours."""
    number = gate.host.launch_port(gate.candidate)
    settle(obtain(lambda subject: audit.port(number, role=audit_state.port_roles(gate.host)[number])))


@pytest.mark.requirement("AUD-3")
def test_engine(engine, obtain, settle):
    """The engine, asked for its version and help, has the lane's KV types and the candidate's speculation."""
    settle(obtain(audit_engine.capabilities, identity=lambda: {"engine": audit_engine.engine_id(engine)}))


@pytest.mark.requirement("AUD-4")
def test_unit_file(obtain, settle):
    """The unit file lies in the host's unit folder and serves the candidate's port."""
    settle(obtain(unit_file))


@pytest.mark.requirement("AUD-5")
def test_machine(gate, guard_report, obtain, settle):
    """Lock, competing load, GPU and disk let gates run now; ports, resident servers and memory are told beside them."""
    settle(obtain(lambda subject: audit_state.machine(guard_report(), gate.host)))


@pytest.mark.requirement("AUD-6")
def test_helper_scripts(gate, obtain, settle):
    """Every helper script that the host lists is there and compiles."""
    settle(obtain(lambda subject: audit_scripts.helper_scripts(gate.host.scripts)))
