"""Gates and requirements belong together one to one, and the acceptance run is what it claims to be."""

import importlib.util
import subprocess
import sys

import pytest
from support.places import ROOT

from fixtures.catalog.load import load_families, load_requirements

FAMILIES = [family.id for family in load_families()]
REQUIREMENTS = {requirement.id: requirement for requirement in load_requirements()}


def marks_of_gates():
    """{requirement id: [names of the marks on each of its tests]}, module marks included."""
    found = {}
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"gates_of_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        shared = getattr(module, "pytestmark", [])
        for name, test in vars(module).items():
            if name.startswith("test_"):
                marks = [*(shared if isinstance(shared, list) else [shared]), *getattr(test, "pytestmark", [])]
                (requirement,) = [mark.args[0] for mark in marks if mark.name == "requirement"]
                found.setdefault(requirement, []).append({mark.name for mark in marks} - {"requirement"})
    return found


def test_every_requirement_has_its_gate_and_every_gate_its_requirement():
    assert set(marks_of_gates()) == set(REQUIREMENTS)


def test_gates_carry_the_marker_of_their_requirement():
    for requirement_id, tests in marks_of_gates().items():
        requirement = REQUIREMENTS[requirement_id]
        for marks in tests:
            assert marks == {str(requirement.marker)} | ({"runtime"} if requirement.runtime else set()), requirement_id


def test_every_marker_has_a_gate():
    assert {str(requirement.marker) for requirement in REQUIREMENTS.values()} == set(FAMILIES)


def run(*args):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.runtime
def test_no_snapshot_is_stale_over_all_shipped_hosts(tmp_path):
    done = run("-m", "not runtime", "--host=local", f"--reports={tmp_path}", "-q")
    assert done.returncode == 0, done.stdout
    assert "unused" not in done.stdout
    assert "snapshots passed" in done.stdout


@pytest.mark.runtime
def test_a_plain_run_collects_the_chosen_hosts_gates_only():
    done = run("--host=local", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout
    assert "tests/meta" not in done.stdout
    assert not [word for word in ("31b", "26b", "12b", "e4b", "e2b") if word in done.stdout]


@pytest.mark.runtime
def test_the_owners_command_lists_exactly_both_26b_lanes(tmp_path):
    done = run("--host", "dgx", "-m", "coherence", "-k", "26b", "--collect-only", "-q")
    ids = [line.split("[")[1] for line in done.stdout.splitlines() if "[" in line]
    assert {"-".join(test_id.split("-")[:2]) for test_id in ids} == {"26b-k3v3", "26b-k3v4"}


@pytest.mark.runtime
def test_meta_tests_refuse_another_host():
    done = run("--host", "dgx", "tests/meta/engine/test_logs.py", "-q")
    assert done.returncode == 4
    assert "runs on host local only, not on dgx" in done.stderr + done.stdout
