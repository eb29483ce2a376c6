"""Patch set tbq changes nothing for other KV types: the unpatched engine gives the same perplexity, to the last digit.

That engine takes as long to build as the patched one. So what was compared once is kept with the sum of all that decides it, and a machine
without that engine compares again only where the patches, or what they patch, have changed since.
"""

import re
import subprocess
import tomllib
from functools import cache

import pytest
from support.places import DATA
from support.tbq_source import compared_sha256

from fixtures.catalog.load import load_host
from fixtures.measure.prompts import corpus_path
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine, find_engine

COMPARED = tomllib.loads((DATA / "tbq_unpatched.toml").read_text())
CHUNK = re.compile(r"\[(\d+)\]([\d.]+)")


@pytest.fixture(scope="module")
def unpatched():
    """That engine; built, about 10 minutes on 2 cores, only where these patches were not compared with it yet."""
    request = EngineRequest.named("pinned")
    if find_engine(request) is None and COMPARED["sha256"] == compared_sha256():
        pytest.skip(f"compared with these patches on {COMPARED['on']}; to do it again: `python -m llama_build --recipe pinned`")
    return build_engine(request)


def test_what_was_compared_are_these_patches():
    assert COMPARED["sha256"] == compared_sha256(), (
        "patch set tbq or its source has changed: run tests/meta/llama_build/test_tbq_unpatched.py, and where it passes write this sum, "
        f"the day, the machine and what it said to {DATA / 'tbq_unpatched.toml'}"
    )


@cache
def perplexities(recipe, kv_type):
    """The running value after each chunk, as printed, and the final line's."""
    program, model = build_engine(EngineRequest.named(recipe)).perplexity, ensure_registry_model("gemma3-270m")
    plan = load_host("local").ppl
    argv = [str(program), "-m", str(model), "-f", str(corpus_path(plan.corpus)), "-c", str(plan.context), "--chunks", str(plan.chunks)]
    done = subprocess.run([*argv, "-t", "1", "-ctk", kv_type, "-ctv", kv_type], capture_output=True, text=True, timeout=600, check=True)
    output = done.stdout + done.stderr
    return [value for _, value in CHUNK.findall(output)], re.search(r"Final estimate: PPL = (\S+ \+/- \S+)", output)[1]


@pytest.mark.runtime
@pytest.mark.long
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_perplexity_is_identical_to_the_unpatched_engine(unpatched, kv_type):
    ours, theirs = perplexities("pinned+tbq", kv_type), perplexities("pinned", kv_type)
    assert len(ours[0]) == 4
    assert ours == theirs


@pytest.mark.runtime
@pytest.mark.long
def test_a_difference_would_be_seen(unpatched):
    assert perplexities("pinned", "f16") != perplexities("pinned", "q8_0")


@pytest.mark.runtime
@pytest.mark.long
def test_the_unpatched_engine_knows_no_tbq(unpatched):
    done = subprocess.run([unpatched.server, "-ctk", "tbq3_0", "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Unsupported cache type: tbq3_0" in done.stderr + done.stdout
