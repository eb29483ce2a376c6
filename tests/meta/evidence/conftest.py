"""Where the runs of these tests are recorded."""

import pytest


@pytest.fixture
def reports(tmp_path):
    return tmp_path / "reports"
