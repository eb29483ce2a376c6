"""Stability: the server that passed the gates is still the one that was launched, and sound."""

import pytest

from fixtures.measure.stability import soundness

pytestmark = [pytest.mark.stability, pytest.mark.runtime]


@pytest.mark.requirement("STA-1")
def test_sound_after_use(gate, obtain, settle):
    """Same process, same alias, one more answer, nothing fatal in the log."""
    settle(obtain(lambda subject: soundness(subject.server)))
