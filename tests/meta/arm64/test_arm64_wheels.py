"""Nothing in the lock may lack a wheel for the owner's machine: aarch64, with Python 3.12, which no Debian has."""

import re

import pytest
from support.arm64 import wheels

pytestmark = pytest.mark.long


def test_all_that_is_locked_has_a_wheel():
    names = {file.name for file in wheels("3.12").glob("*.whl")}
    assert len(names) > 50
    assert any(re.match(r"numpy-.*aarch64", name) for name in names)
