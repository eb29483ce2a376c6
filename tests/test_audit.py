"""Audit: is everything there, and are the ports clear? Read-only, starts no engine, waits for no lock."""

import pytest

from fixtures.measure import audit

pytestmark = [pytest.mark.audit, pytest.mark.runtime]


@pytest.mark.requirement("AUD-1")
def test_artefacts(gate, obtain, settle):
    """Target and drafter exist, are complete GGUFs, and belong together."""
    settle(obtain(audit.artefacts))


@pytest.mark.requirement("AUD-2")
def test_test_port(gate, workbench, obtain, settle):
    """The port on which gates launch the candidate is free or ours."""
    settle(obtain(lambda subject: audit.port(workbench.port(gate.candidate))))
