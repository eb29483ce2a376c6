"""STA-2: policies are proven on the process that holds the model, and nobody's own variable is overruled silently."""

import os
import subprocess
import sys
import time

import pytest
from support.evidence_samples import evidence, judged

from fixtures.catalog.candidate import Policy, Role
from fixtures.catalog.load import load_host, load_lanes, load_requirements
from fixtures.catalog.requirement import Arm
from fixtures.catalog.scope import applies
from fixtures.catalog.speculation import Speculation
from fixtures.engine.command import server_command
from fixtures.engine.command_env import CommandError, steering_environment
from fixtures.engine.command_matrix import stand_in, with_placeholders
from fixtures.engine.dialect import recorded_dialect
from fixtures.engine.model_process import environment_of, model_processes
from fixtures.records.blocked import Blocked
from fixtures.records.verdict import Verdict

DGX = load_host("dgx")
IDLE = "import sys, time; print('up', flush=True); time.sleep(60)"
MAPS = f"import mmap, sys; file = open(sys.argv[1], 'rb'); held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); {IDLE}"
READS = f"import sys; held = bytearray(open(sys.argv[1], 'rb').read()); {IDLE}"


def host_with(**engine):
    return DGX.model_copy(update={"engine": DGX.engine.model_copy(update={"pure_mode_env": "PURE_KV=1", **engine})})


def launched(candidate_id, host):
    candidate = host.candidate(candidate_id).model_copy(update={"speculation": Speculation()})
    prepared = stand_in(with_placeholders(host), load_lanes(), candidate, Arm.PRODUCTION, recorded_dialect("thetom"))
    return server_command(prepared, port=1)


def test_who_owes_it():
    requirement = next(each for each in load_requirements() if each.id == "STA-2")
    owing = [each.id for each in DGX.candidates if applies(requirement, each, DGX)]
    assert "26b-k3v3" in owing  # two policies and no unit
    assert len(owing) == 6
    for name in ("local", "twins"):
        host = load_host(name)
        assert not [each.id for each in host.candidates if applies(requirement, each, host)]


@pytest.mark.parametrize(
    ("candidate", "engine", "said"),
    [
        ("31b-k3v3", {"env": {"TURBO_AUTO_ASYMMETRIC": "1"}}, ("TURBO_AUTO_ASYMMETRIC=1", "lane k3v3 needs TURBO_AUTO_ASYMMETRIC=0")),
        ("26b-k3v3", {"env": {"GGML_CUDA_DISABLE_GRAPHS": "0"}}, ("GGML_CUDA_DISABLE_GRAPHS=0", "needs GGML_CUDA_DISABLE_GRAPHS=1")),
        ("31b-k3v3", {"env": {"PURE_KV": "0"}}, ("PURE_KV=0", "the policy of 31b-k3v3 needs PURE_KV=1")),
        ("31b-k3v3", {"env": {"PURE_KV": ""}}, ("PURE_KV=,", "needs PURE_KV=1")),
        (
            "31b-k3v3",
            {"pure_mode_env": "TURBO_AUTO_ASYMMETRIC=1"},
            ("lane k3v3 sets TURBO_AUTO_ASYMMETRIC=0", "policy of 31b-k3v3 needs TURBO_AUTO_ASYMMETRIC=1"),
        ),
    ],
)
def test_nothing_is_overruled_silently(candidate, engine, said):
    with pytest.raises(CommandError) as error:
        launched(candidate, host_with(**engine))
    for words in said:
        assert words in str(error.value)


def test_the_same_value_twice_is_no_conflict():
    host = host_with(env={"TURBO_AUTO_ASYMMETRIC": "0", "GGML_CUDA_DISABLE_GRAPHS": "1", "LD_LIBRARY_PATH": "/opt/x"})
    command = launched("31b-k3v3", host)
    assert command.policy_env == {
        "TURBO_AUTO_ASYMMETRIC": "0",
        "GGML_CUDA_DISABLE_GRAPHS": "1",
        "LD_LIBRARY_PATH": "/opt/x",
        "PURE_KV": "1",
    }


def test_a_variable_that_neither_lane_nor_policy_names_is_the_owners():
    bare = DGX.candidate("31b-k3v4").model_copy(update={"policy": Policy()})
    host = host_with(env={"TURBO_AUTO_ASYMMETRIC": "1"})
    assert steering_environment(bare, host, {}, no_graphs=False) == {"TURBO_AUTO_ASYMMETRIC": "1"}


PROMOTED = DGX.candidate("26b-k3v3")
RETEST = PROMOTED.model_copy(update={"role": Role.RETEST, "retests": "seed-prime-ab", "diagnosis": {"LLAMA_GPU_ARGMAX": "1"}})


def in_force(candidate, *names):
    """The judgement of a process of that candidate that was started with its policies and with variables of these names."""
    asked = {"GGML_CUDA_DISABLE_GRAPHS": "1"}
    process = {"pid": 42, "name": "llama-server", "variables": asked, "names": ["GGML_CUDA_DISABLE_GRAPHS", "PATH", *names]}
    raw = {"asked": asked, "unasked": [], "by_presence": [], "processes": [process]}
    return judged(evidence("STA-2", candidate.id, {"variables": 1, "processes": 1}, raw=raw), candidate, DGX)


@pytest.mark.parametrize("name", ["LLAMA_GPU_ARGMAX", "TBQ_SEED_PRIME", "tbq_seedprime_dump"])
def test_a_diagnostic_variable_on_what_may_be_promoted_fails(name):
    found = in_force(PROMOTED, name)
    assert found.verdict is Verdict.FAIL
    assert f"pid 42 (llama-server) was started with {name}, a diagnostic variable (`engine.diagnostics`)" in found.reason


def test_without_any_it_passes_and_a_retest_has_its_own_alone():
    assert in_force(PROMOTED).verdict is Verdict.PASS
    assert in_force(RETEST, "LLAMA_GPU_ARGMAX").verdict is Verdict.PASS
    assert in_force(RETEST, "LLAMA_GPU_ARGMAX", "TBQ_SEED_PRIME").verdict is Verdict.FAIL


def test_a_record_that_names_no_variables_proves_nothing_of_them():
    raw = {"asked": {"A": "1"}, "unasked": [], "by_presence": [], "processes": [{"pid": 1, "name": "x", "variables": {"A": "1"}}]}
    found = judged(evidence("STA-2", PROMOTED.id, {"variables": 1, "processes": 1}, raw=raw), PROMOTED, DGX)
    assert (found.verdict, "measure again" in found.reason) == (Verdict.INVALID, True)


def test_a_retest_is_launched_with_its_diagnosis_and_nobody_elses_variable_is_overruled():
    assert steering_environment(RETEST, host_with(), {}, no_graphs=True)["LLAMA_GPU_ARGMAX"] == "1"
    assert "LLAMA_GPU_ARGMAX" not in steering_environment(PROMOTED, host_with(), {}, no_graphs=True)
    with pytest.raises(CommandError, match="the diagnosis of 26b-k3v3 needs LLAMA_GPU_ARGMAX=1"):
        steering_environment(RETEST, host_with(env={"LLAMA_GPU_ARGMAX": "0"}), {}, no_graphs=True)


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(os.urandom(1 << 20) * 64)
    return file


@pytest.fixture
def process():
    started = []

    def start(*command, **env):
        each = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **env}, stdout=subprocess.PIPE, start_new_session=True)
        started.append(each)
        assert each.stdout.readline() == b"up\n"
        return each.pid

    yield start
    for each in started:
        os.killpg(each.pid, 9)
        each.wait()
        each.stdout.close()


def test_who_maps_the_model_holds_it(process, model):
    pid = process(sys.executable, "-c", MAPS, str(model), POLICY="1")
    assert [(each.pid, each.holds) for each in model_processes([pid], model)] == [(pid, "mapped")]
    assert environment_of(pid)["POLICY"] == "1"


def test_a_wrapper_with_the_policy_is_not_the_server_without_it(process, model):
    wrapper = process("sh", "-c", f'unset POLICY; "{sys.executable}" -c "$0" "$1"; true', MAPS, str(model), POLICY="1")
    (holder,) = model_processes([wrapper], model)
    assert holder.pid != wrapper
    assert "POLICY" in environment_of(wrapper)
    assert "POLICY" not in environment_of(holder.pid)


def test_the_file_counts_not_its_name(process, model, tmp_path):
    link = tmp_path / "other-name.gguf"
    link.hardlink_to(model)
    pid = process(sys.executable, "-c", MAPS, str(link))
    assert [each.holds for each in model_processes([pid], model)] == ["mapped"]


def test_without_mmap_the_memory_counts(process, model):
    pid = process(sys.executable, "-c", READS, str(model))
    assert [each.holds for each in model_processes([pid], model)] == ["memory"]


def test_who_has_neither_holds_nothing(process, model):
    assert model_processes([process(sys.executable, "-c", IDLE)], model) == ()


def test_an_environment_that_cannot_be_read_is_blocked(process):
    pid = subprocess.Popen(["true"])
    pid.wait()
    time.sleep(0.01)
    with pytest.raises(Blocked, match=r"cannot be read .*run this as the user whose server it is"):
        environment_of(pid.pid)
