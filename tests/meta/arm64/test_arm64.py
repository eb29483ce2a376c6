"""The owner's machine is aarch64 with Python 3.12: the suite is set up from its lock and run on an arm64 Debian, under qemu-user."""

import os
import re

import pytest
from support.arm64 import PYTHONS, require_tools, run_inside, wheels

pytestmark = pytest.mark.long

# each step's seconds and status; what pip and pytest print stays readable above
SCRIPT = r"""
step() {
    name=$1; shift
    begun=$(date +%s); status=0
    "$@" || status=$?
    echo "[step $name: status $status, $(($(date +%s) - begun)) s]"
}
uname -m
python3 --version
step setup make setup
step static .venv/bin/python -m pytest -q -p no:hypothesispytest -m "not runtime"
step doctor ./readiness doctor --host=dgx
step audit ./readiness audit --host=dgx --reports=/tmp/reports
"""

ASKED = os.environ.get("READINESS_ARM64", " ".join(PYTHONS)).split()  # CI has room for one


@pytest.mark.parametrize("version", [version for version in PYTHONS if version in ASKED])
def test_set_up_static_gates_doctor_and_audit_on_aarch64(version, tmp_path, record_property):
    require_tools()
    done = run_inside(version, SCRIPT, tmp_path)
    steps = {name: (int(status), int(took)) for name, status, took in re.findall(r"\[step (\w+): status (\d+), (\d+) s\]", done.stdout)}
    record_property("arm64", f"Python {version}: {steps}")
    assert done.stdout.startswith(f"aarch64\nPython {version}."), done.stdout[-3000:]
    assert {name: status for name, (status, _) in steps.items()} == {"setup": 0, "static": 0, "doctor": 0, "audit": 75}, done.stdout[-6000:]
    assert "Traceback" not in done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 90, "the static gates of all shipped hosts"
    assert "# What the overlay of host dgx" in done.stdout
    assert re.search(r"\$ pytest --host dgx --reports=/tmp/reports -m audit", done.stdout), "the next step, to be copied"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_all_that_is_locked_has_an_aarch64_wheel(version):
    """3.12 is the owner's own Python, which no Debian has."""
    names = {file.name for file in wheels(version).glob("*.whl")}
    assert len(names) > 50
    assert any(re.match(r"numpy-.*aarch64", name) for name in names)
