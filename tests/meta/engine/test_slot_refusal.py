"""What aborts over its KV cache once is not started again by another program; what fails for another reason is."""

import sys

import pytest

from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchFailed
from fixtures.engine.slot import HostSlot

CANNOT = "/s/ggml/src/ggml-backend.cpp:941: pre-allocated tensor (cache_k_l0 (view)) in a buffer (CUDA0) that cannot run (SET_ROWS)"


def command(says, *, k="tbq3_0", model="m.gguf", policy=""):
    dies = f"import os; print({says!r}, flush=True); os.abort()"
    policies = {"POLICY": policy} if policy else {}
    return CommandLine(argv=(sys.executable, "-c", dies, "-m", model, "-ctk", k, "-ctv", k), env=policies, policy_env=policies)


@pytest.fixture
def starts(tmp_path):
    """Starts each command in one slot; returns what each said and how many processes there were."""
    launches = []

    def run(*commands):
        said = []
        with HostSlot(launches.append) as slot:
            for number, each in enumerate(commands):
                with pytest.raises(LaunchFailed) as error:
                    slot.run_program(("c", f"arm{number}"), each, tmp_path / f"{number}.log", 60)
                said.append(str(error.value))
        return said, len([entry for entry in launches if entry.ended is None])

    return run


def test_the_same_cache_is_refused_with_who_tried_it(starts):
    (first, second), started = starts(command(CANNOT), command(CANNOT))
    assert f"failed: killed by signal 6 (SIGABRT): {CANNOT}" in first
    assert second.startswith(f"not launched, since c/arm0 with the same model and KV types did not start either: {CANNOT}; its log: ")
    assert started == 1


@pytest.mark.parametrize("other", [{"k": "q8_0"}, {"model": "n.gguf"}, {"policy": "1"}])
def test_another_cache_model_or_policy_is_tried(starts, other):
    assert starts(command(CANNOT), command(CANNOT, **other))[1] == 2


@pytest.mark.parametrize("says", ["", "x.cpp:1: GGML_ASSERT(drafter) failed", "failed to allocate buffer for kv cache"])
def test_another_cause_is_tried_again(starts, says):
    assert starts(command(says), command(says))[1] == 2
