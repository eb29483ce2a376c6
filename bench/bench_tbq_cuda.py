"""Patch set tbq on an NVIDIA GPU: time of a step at depth with k3v3 and k3v4 over that with F16, q8_0 and q4_0, on the geometry twins.

The twins' matrices are tiny, so a step is launches and attention: what the cache costs shows more than in a model of true size,
which `llama_build/patches/tbq/device` measures. Without a GPU there is nothing to run, and the module offers nothing.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench import Bench, Reading
from bench.cuda import DRIVER, cuda_preset
from fixtures.models.twins import ensure_twin
from llama_build import BuildError, EngineRequest, build_engine

_TWINS = {"31B": "twin60", "26B": "twin30", "E4B": "twin42"}
_DEPTHS = (0, 32768)
_CACHES = {
    "k3v3": ("tbq3_0", "tbq3_0"),
    "k3v4": ("tbq3_0", "tbq4_0"),
    "F16": ("f16", "f16"),
    "q8_0": ("q8_0", "q8_0"),
    "q4_0": ("q4_0", "q4_0"),
}
_PAIRS = (("k3v3", "F16"), ("k3v4", "F16"), ("k3v3", "q8_0"), ("k3v3", "q4_0"))
_MOST = {0: 1.10, 32768: 1.0}  # times F16: the rotations of Q, K and V are launches that F16 does not have; 1.0 times the others
_TIMEOUT_S = 900


@dataclass(frozen=True)
class Step:
    """A step of `tokens` at `depth`: 1 is plain decoding, 4 the verification of three drafted tokens."""

    twin: str
    depth: int
    tokens: int

    def seconds(self, cache: str) -> float:
        """Median of five, with this KV cache."""
        k_type, v_type = _CACHES[cache]
        engine = build_engine(EngineRequest.named("pinned+tbq", cuda_preset()))
        if engine.bench is None:
            raise BuildError(f"{engine.folder} has no llama-bench; build that target too")
        model = ensure_twin(self.twin, "geometry").target
        test = ["-p", "0", "-n", "64"] if self.tokens == 1 else ["-p", str(self.tokens), "-n", "0"]
        argv = [engine.bench, "-m", model, "-ngl", "99", "-fa", "1", "-d", self.depth, *test, "-r", "5"]
        argv += ["-ctk", k_type, "-ctv", v_type, "-o", "json"]
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        samples_ns: list[int] = json.loads(done.stdout)[0]["samples_ns"]
        return statistics.median(samples_ns) / 1e9


@contextmanager
def _over(step: Step, ours: str, theirs: str) -> Iterator[Reading]:
    """The other one before and after, so that a drift of the clocks meets both sides."""

    def read() -> float:
        before = step.seconds(theirs)
        own = step.seconds(ours)
        return 2 * own / (before + step.seconds(theirs))

    yield read


def _benches() -> Iterator[Bench]:
    for model, twin in _TWINS.items():
        for depth in _DEPTHS:
            for tokens in (1, 4):
                for ours, theirs in _PAIRS:
                    name = f"tbq on CUDA: step of {tokens} of {model}, {ours} over {theirs} KV at depth {depth}"
                    most = _MOST[depth] if theirs == "F16" else 1.0
                    yield Bench(name, most, "times", partial(_over, Step(twin, depth, tokens), ours, theirs), 3)


BENCHES = tuple(_benches()) if DRIVER.exists() else ()
ABSENT = "no NVIDIA driver is loaded here"
