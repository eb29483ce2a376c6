"""Where a test's run lock lies."""

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.lock"
