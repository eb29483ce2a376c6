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
    candidates = json.loads((session.folder / "verdict.json").read_text())["candidates"]
    gates = [gate for each in candidates if each["candidate"] == "good-q8" for gate in each["gates"] if gate["requirement"] == "STA-2"]
    assert [gate["judgement"]["verdict"] for gate in gates] == [verdict], session.output
    assert said in gates[0]["judgement"]["reason"]
