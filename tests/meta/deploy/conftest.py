"""A bench for installed units."""

import pytest
from support.installed_units import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)
