"""Audit: is everything there, and may we look? Read-only, builds and launches nothing, takes no lock, waits for none."""

import pytest

from fixtures.measure.audit import artefacts, engine, machine, ports, scripts, unit


@pytest.mark.requirement("AUD-1")
def test_artefacts(prove):
    """Target and drafter exist, are complete GGUFs of the stated type, and belong together."""
    prove(artefacts.artefacts)


@pytest.mark.requirement("AUD-2")
def test_test_port(prove):
    """The port on which gates launch the candidate is free or ours."""
    prove(ports.launch_port)


@pytest.mark.requirement("AUD-3")
def test_engine(prove):
    """The engine, asked for its version and help, has the lane's KV types and the candidate's speculation."""
    prove(engine.capabilities)


@pytest.mark.requirement("AUD-4")
def test_unit_file(prove):
    """The unit file lies in the host's unit folder and serves the candidate's port."""
    prove(unit.unit_file)


@pytest.mark.requirement("AUD-5")
def test_machine(prove):
    """Lock, competing load, GPU and disk let gates run now; ports, resident servers and memory are told beside them."""
    prove(machine.state)


@pytest.mark.requirement("AUD-6")
def test_helper_scripts(prove):
    """Every helper script that the host lists is there and compiles."""
    prove(scripts.helper_scripts)
