"""STA-2 on a real llama-server, started through wrappers that an owner may have: what counts is the process with the model."""

import json

import pytest
from support import child_session

from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

EXEC = 'exec $ENGINE "$@"'
HELD = "GGML_CUDA_DISABLE_GRAPHS=1 in the environment of pid"
LOST = "holds the model and was started without GGML_CUDA_DISABLE_GRAPHS=1"
CASES = {
    "no mmap": (f"{EXEC} --load-mode none", "PASS", HELD),
    "present is enough": (f"export GGML_CUDA_DISABLE_GRAPHS=0; {EXEC}", "PASS", HELD),
    "policy lost on the way": ('exec env -u GGML_CUDA_DISABLE_GRAPHS $ENGINE "$@"', "FAIL", LOST),
}

RETESTED = """
[[rows]]
id = "argmax-probe"
title = "A probe of a diagnostic branch"
role = "withdrawn"
note = "measured in the middle of other work"
source = "meta test"
"""


@pytest.mark.parametrize("case", CASES)
def test_in_force(tmp_path, case):
    script, verdict, said = CASES[case]
    wrapper = tmp_path / "engine" / "llama-server"
    wrapper.parent.mkdir()
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    probes = 'case "$*" in *--help*|*--version*) exec $ENGINE "$@";; esac'
    wrapper.write_text(f"#!/bin/sh\nENGINE={server}\n{probes}\n{script}\n")
    wrapper.chmod(0o755)
    engine = f'path = "{wrapper.parent}"\ncommit = "0c1e57098bba"'
    host = child_session.write_host(tmp_path, port=18480, recipe="path", engine=engine)
    host.write_text(host.read_text().replace('id = "good-q8"', 'id = "good-q8"\npolicy = { no_graphs = true }'))
    session = child_session.start(host, tmp_path / "reports", "-k", "good and policies")
    session.wait()
    found = judged(session)["good-q8"]
    assert found["verdict"] == verdict, session.output
    assert said in found["reason"]


def judged(session):
    """What STA-2 says of each candidate of which it was asked."""
    candidates = json.loads((session.folder / "verdict.json").read_text())["candidates"]
    gates = {each["candidate"]: gate for each in candidates for gate in each["gates"] if gate["requirement"] == "STA-2"}
    return {candidate: gate["judgement"] for candidate, gate in gates.items()}


def test_a_diagnostic_variable_is_the_retests_alone(tmp_path):
    """One variable in the engine's own environment: what may be promoted fails by it, the retest was launched for it."""
    engine = 'diagnostics = ["GPU_ARGMAX"]\nenv = { LLAMA_GPU_ARGMAX = "1" }'
    host = child_session.write_host(tmp_path, port=18500, engine=engine)
    before, _, other = host.read_text().partition('id = "other-q8"')
    other = other.replace('role = "standin"', 'role = "retest"\nretests = "argmax-probe"\ndiagnosis = { LLAMA_GPU_ARGMAX = "1" }')
    other = "\n".join(line for line in other.splitlines() if not line.startswith("unit = "))
    before = before.replace('models = ["good", "other"]', 'models = ["good"]').replace('other = "other-q8"\n', "")
    host.write_text(f'{before}id = "other-q8"{other}{RETESTED}')
    session = child_session.start(host, tmp_path / "reports", "-k", "policies")
    assert session.wait() == 1, session.output
    found = judged(session)
    assert found["good-q8"]["verdict"] == "FAIL"
    assert "was started with LLAMA_GPU_ARGMAX, a diagnostic variable" in found["good-q8"]["reason"]
    assert found["other-q8"]["verdict"] == "PASS", found
    assert "measured again as" in (session.folder / "index.html").read_text("utf-8")
