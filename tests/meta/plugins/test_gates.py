"""Gates and requirements belong together one to one, and the acceptance run is what it claims to be."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest
from support.child_session import LEAN
from support.places import META, ROOT

from fixtures.catalog.load import load_families, load_host, load_requirements
from fixtures.catalog.owed import owed_by

FAMILIES = [family.id for family in load_families()]
REQUIREMENTS = {requirement.id: requirement for requirement in load_requirements()}
OWED = {owed.requirement for owed in owed_by(load_host("local", bare=True), REQUIREMENTS.values())}

TESTS = {}  # requirement id -> the name of its test


def gates():
    """{requirement id: [marks that its tests carry by themselves]}."""
    found = {}
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"gates_of_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert not hasattr(module, "pytestmark"), f"{file.name}: a gate's markers follow from its requirement"
        for name, test in vars(module).items():
            if name.startswith("test_"):
                (requirement,) = [mark.args[0] for mark in test.pytestmark if mark.name == "requirement"]
                TESTS[requirement] = name
                found.setdefault(requirement, []).append({mark.name for mark in test.pytestmark} - {"requirement"})
    return found


def test_every_requirement_has_its_gate_and_every_gate_its_requirement():
    assert set(gates()) == set(REQUIREMENTS)


def test_gates_leave_their_markers_to_their_requirement():
    assert {name: marks for name, tests in gates().items() for marks in tests if marks} == {}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """What a plain run on the local host collects: markers by test id."""
    file = tmp_path_factory.mktemp("collected") / "markers.json"
    env = {**os.environ, "PYTHONPATH": str(META), "META_COLLECTED": str(file)}
    done = run("--host=local", "--collect-only", "-q", "-p", "support.collected", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())


@pytest.mark.runtime
@pytest.mark.parametrize("family", FAMILIES)
def test_gates_carry_the_marker_of_their_requirement(collected, family):
    """The whole catalog of the local host, by what `pytest -m` goes by."""
    gates()  # fills TESTS
    mine = {requirement.id: requirement for requirement in REQUIREMENTS.values() if requirement.marker == family}
    runtime = {name for name, item in mine.items() if item.runtime}
    for marked, wanted in (({family}, set(mine)), ({family, "runtime"}, runtime)):
        names = {test_id.split("::")[1].split("[")[0] for test_id, marks in collected.items() if marked <= set(marks)}
        assert {name for name, test in TESTS.items() if test in names} == wanted & OWED, marked


@pytest.mark.runtime
def test_a_plain_run_collects_the_chosen_hosts_gates_only(collected):
    assert not [test_id for test_id in collected if "tests/meta" in test_id]
    assert not [test_id for test_id in collected if any(word in test_id for word in ("31b", "26b", "12b", "e4b", "e2b"))]


def test_every_marker_has_a_gate():
    assert {str(requirement.marker) for requirement in REQUIREMENTS.values()} == set(FAMILIES)


def run(*args, cwd=ROOT, env=None):
    command = [sys.executable, "-m", "pytest", *LEAN, *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.runtime
def test_a_hand_edited_review_is_red_in_a_static_run_and_no_option_of_pytest_mends_it(tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("conftest.py", "pyproject.toml"):
        checkout.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout)
    for name in ("fixtures", "llama_build", "prompts"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", checkout / "tests", ignore=shutil.ignore_patterns("meta", "__pycache__"))
    with (checkout / "fixtures/catalog/hosts/local.toml").open("a") as host:
        host.write('\n[tiers]\nDEP-4 = "required"\nDEP-5 = "required"\n')
    file = checkout / "fixtures/catalog/reviewed/local/smollm2-135m-q8.toml"
    file.write_text(file.read_text("utf-8").replace("-ub 512", "-ub 256"), "utf-8")
    edited = file.read_bytes()
    gates = ("-m", "deploy and not runtime", "--host=local", "-k", "smollm2 or twin42-q4", f"--reports={tmp_path / 'reports'}")
    done = run(*gates, "--snapshot-update", cwd=checkout)
    assert done.returncode == 1, done.stdout
    for requirement in ("DEP-4", "DEP-5"):
        assert f"FAIL: smollm2-135m-q8 {requirement}" in done.stdout
        assert f"FAIL: twin42-q4 {requirement}" not in done.stdout
    assert file.read_bytes() == edited
    assert "snapshots" not in done.stdout, "advice that would destroy a review"


@pytest.mark.runtime
def test_the_owners_command_lists_exactly_both_26b_lanes(tmp_path):
    done = run("--host", "dgx", "-m", "coherence", "-k", "26b", "--collect-only", "-q")
    ids = [line.split("[")[1].rstrip("]") for line in done.stdout.splitlines() if "[" in line]
    assert {"-".join(test_id.split("-")[:2]) for test_id in ids} == {"26b-k3v3", "26b-k3v4"}


@pytest.mark.runtime
def test_meta_tests_refuse_another_host():
    done = run("--host", "dgx", "tests/meta/engine/test_logs.py", "-q")
    assert done.returncode == 4
    assert "runs on host local only, not on dgx" in done.stderr + done.stdout
