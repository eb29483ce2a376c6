"""The suite on aarch64 with Python 3.13, under qemu-user. A module each, so that two workers take one Python each."""

import pytest
from support.arm64 import check_suite

pytestmark = pytest.mark.long


def test_set_up_static_gates_doctor_and_audit(tmp_path):
    check_suite("3.13", tmp_path)
