"""Patch set tbq changes nothing for other KV types: the unpatched engine gives the same perplexity, to the last digit."""

import re
import subprocess
from functools import cache

import pytest

from fixtures.catalog.load import load_host
from fixtures.measure.prompts import corpus_path
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]  # a cold run builds the unpatched engine first: about 10 minutes on 2 cores

CHUNK = re.compile(r"\[(\d+)\]([\d.]+)")


@cache
def perplexities(recipe, kv_type):
    """The running value after each chunk, as printed, and the final line's."""
    program, model = build_engine(EngineRequest.named(recipe)).perplexity, ensure_registry_model("gemma3-270m")
    plan = load_host("local").ppl
    argv = [str(program), "-m", str(model), "-f", str(corpus_path(plan.corpus)), "-c", str(plan.context), "--chunks", str(plan.chunks)]
    done = subprocess.run([*argv, "-t", "1", "-ctk", kv_type, "-ctv", kv_type], capture_output=True, text=True, timeout=600, check=True)
    output = done.stdout + done.stderr
    return [value for _, value in CHUNK.findall(output)], re.search(r"Final estimate: PPL = (\S+ \+/- \S+)", output)[1]


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_perplexity_is_identical_to_the_unpatched_engine(kv_type):
    ours, theirs = perplexities("pinned+tbq", kv_type), perplexities("pinned", kv_type)
    assert len(ours[0]) == 4
    assert ours == theirs


def test_a_difference_would_be_seen():
    assert perplexities("pinned", "f16") != perplexities("pinned", "q8_0")


def test_the_unpatched_engine_knows_no_tbq():
    server = build_engine(EngineRequest.named("pinned")).server
    done = subprocess.run([server, "-ctk", "tbq3_0", "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Unsupported cache type: tbq3_0" in done.stderr + done.stdout
