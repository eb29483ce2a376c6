"""What the KV types cost in quality: KL divergence from F16 KV of the same weights, by llama-perplexity, for every pair of types.

Measured on gemma3-270m, whose heads are few and wide: it suffers far more from 3 bits than the models that the lanes are for.
"""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from fixtures.measure.prompts import corpus_path
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

# best first; tbq4_0 claims to be about q4_0 at fewer bytes, so these two have no order
TYPES = ("f16", "q8_0", "q4_0", "tbq4_0", "tbq3_0")
ORDERED = (("f16", "q8_0"), ("q8_0", "q4_0"), ("q8_0", "tbq4_0"), ("q4_0", "tbq3_0"), ("tbq4_0", "tbq3_0"))
CHUNKS, CONTEXT = 8, 256  # eight chunks to pair; half of each is scored; 537 MB of logits
ROW = re.compile(r"^\s*\d+\s+\S+ ±\s+\S+\s+\S+ ±\s+\S+\s+(\S+) ±", re.MULTILINE)  # chunk, PPL, ln ratio, KL divergence so far


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """llama-perplexity with these KV types and more flags; its output. The logits of F16 KV lie in the folder."""
    program, model = build_engine(EngineRequest.named("pinned+tbq")).perplexity, ensure_registry_model("gemma3-270m")
    logits = tmp_path_factory.mktemp("logits") / "f16"

    def ask(k_type: str, v_type: str, *flags: str) -> str:
        argv = [str(program), "-m", str(model), "-f", str(corpus_path("readiness-bilingual")), "-c", str(CONTEXT), "--chunks", str(CHUNKS)]
        argv += ["-t", "2", "-ctk", k_type, "-ctv", v_type, *flags]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    ask("f16", "f16", "--save-all-logits", str(logits))
    yield lambda k_type, v_type: ask(k_type, v_type, "--kl-divergence", "--kl-divergence-base", str(logits))
    Path(logits).unlink()


@pytest.fixture(scope="module")
def divergence(run) -> dict[tuple[str, str], np.ndarray]:
    """(K type, V type) -> mean KL divergence of each chunk, nats."""
    found = {}
    for pair in product(TYPES, TYPES):
        cumulative = np.array([float(value) for value in ROW.findall(run(*pair))])
        assert len(cumulative) == CHUNKS, pair
        totals = cumulative * np.arange(1, CHUNKS + 1)
        found[pair] = np.diff(totals, prepend=0.0)
    print("\n".join(f"{k:7} {v:7} {chunks.mean():.4f}" for (k, v), chunks in found.items()))
    return found


def test_every_pair_runs_and_is_finite(divergence):
    assert len(divergence) == 25
    assert all(np.isfinite(chunks).all() for chunks in divergence.values())
    assert abs(divergence["f16", "f16"].mean()) < 1e-3  # the logits are stored in 16 bits
    assert min(chunks.mean() for pair, chunks in divergence.items() if "tbq3_0" in pair) > 0.01  # the types are in effect


@pytest.mark.parametrize("side", ["K", "V"])
def test_better_types_are_better_on_each_side(divergence, side):
    """Componentwise order: no pair beats the one that has a better type on one side, by more than 2 paired standard errors."""
    for (better, worse), other in product(ORDERED, TYPES):
        good, bad = ((better, other), (worse, other)) if side == "K" else ((other, better), (other, worse))
        difference = divergence[good] - divergence[bad]
        error = difference.std(ddof=1) / CHUNKS**0.5
        assert difference.mean() <= 2 * error, f"{good} {divergence[good].mean():.4f} is worse than {bad} {divergence[bad].mean():.4f}"


def test_the_lanes_are_where_they_claim_to_be(divergence):
    mean = {pair: chunks.mean() for pair, chunks in divergence.items()}
    q8, q4, t4 = (mean[name, name] for name in ("q8_0", "q4_0", "tbq4_0"))
    assert q8 < t4 <= 1.6 * q4
    assert mean["tbq3_0", "tbq4_0"] < mean["tbq3_0", "tbq3_0"]


def test_the_order_can_be_seen_to_fail(divergence):
    """Types swapped: the sure steps are recognised as wrong."""
    for better, worse in pairwise(("q8_0", "tbq4_0", "tbq3_0")):
        difference = divergence[worse, worse] - divergence[better, better]
        assert difference.mean() > 2 * difference.std(ddof=1) / CHUNKS**0.5
