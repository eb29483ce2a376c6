"""Patch set tbq on this machine: decode time of its lanes against q4_0 KV, and of F16 and q8_0 KV against the unpatched engine.

Interleaved: the two sides of a ratio run right after one another, in alternating order, so that a drift of the machine meets both.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from scipy import stats

from bench import Bench, Reading
from fixtures.models.registry import ensure_registry_model
from llama_build import BuildError, EngineRequest, build_engine

_TOKENS = 32
_SLOWEST_LANE = 1 / 0.85  # a lane keeps at least 0.85 of the speed of q4_0
_PAIRS = 40  # at 3 % noise the interval is 1.2 % to either side
_TIMEOUT_S = 900


@dataclass(frozen=True)
class Side:
    """One side of a ratio: an engine's recipe, KV types, tokens in the cache before the first decoded one."""

    recipe: str
    k_type: str
    v_type: str
    depth: int = 0

    def seconds(self) -> float:
        """Shortest time of `_TOKENS` decoded tokens in three runs: what else the machine does only adds to it."""
        engine = build_engine(EngineRequest.named(self.recipe))
        if engine.bench is None:
            raise BuildError(f"{engine.folder} has no llama-bench; build that target too")
        model = ensure_registry_model("gemma3-270m")
        argv = [engine.bench, "-m", model, "-t", "1", "-p", "0", "-n", str(_TOKENS), "-d", str(self.depth), "-fa", "1", "-r", "3"]
        argv += ["-ctk", self.k_type, "-ctv", self.v_type, "-o", "json"]
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        samples_ns: list[int] = json.loads(done.stdout)[0]["samples_ns"]
        return min(samples_ns) / 1e9


def _ratio(one: Side, other: Side) -> Callable[[], float]:
    """A reading of `one`'s time over `other`'s; the order changes every time."""
    turn = 0

    def read() -> float:
        nonlocal turn
        turn += 1
        if turn % 2:
            ours = one.seconds()
            return ours / other.seconds()
        theirs = other.seconds()
        return one.seconds() / theirs

    return read


@contextmanager
def _lane(k_type: str, v_type: str, depth: int) -> Iterator[Reading]:
    yield _ratio(Side("pinned+tbq", k_type, v_type, depth), Side("pinned+tbq", "q4_0", "q4_0", depth))


@contextmanager
def _unchanged(kv: str) -> Iterator[Reading]:
    """The end of the median ratio's 95 % interval (by ranks: no distribution is assumed) that is further from 1, percent from 1."""
    ratio = _ratio(Side("pinned+tbq", kv, kv), Side("pinned", kv, kv))

    def read() -> float:
        interval = stats.quantile_test([ratio() for _ in range(_PAIRS)]).confidence_interval(0.95)
        return 100 * max(abs(float(end) - 1) for end in interval)

    yield read


def _lane_bench(lane: str, v_type: str, depth: int) -> Bench:
    prepare: Callable[[], AbstractContextManager[Reading]] = partial(_lane, "tbq3_0", v_type, depth)
    return Bench(f"tbq: decode time of {lane} over q4_0 KV at depth {depth}", _SLOWEST_LANE, "times", prepare, repeats=3 if depth else 7)


BENCHES = (
    *(_lane_bench(lane, v_type, depth) for depth in (0, 4096) for lane, v_type in (("k3v3", "tbq3_0"), ("k3v4", "tbq4_0"))),
    *(Bench(f"tbq: {kv} KV, patched against unpatched engine", 2.0, "% from 1", partial(_unchanged, kv), 1) for kv in ("f16", "q8_0")),
)
