"""Patch set tbq on this machine: decode time of its lanes against q4_0 KV, and of F16 and q8_0 KV against the unpatched engine.

Interleaved: the two sides of a ratio run right after one another, in alternating order, so that a drift of the machine meets both.
"""

from __future__ import annotations

import json
import math
import socket
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scipy import stats

from bench import Bench, Reading
from fixtures.engine.client import LlamaClient
from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, launch
from fixtures.models.registry import ensure_registry_model
from llama_build import BuildError, EngineRequest, build_engine

_TOKENS = 32
_SLOWEST_LANE = 1 / 0.85  # a lane keeps at least 0.85 of the speed of q4_0
_STARTS, _PAIRS = 12, 40  # at 7 % noise a pair, and 1 % a start, the interval is 0.8 % to either side
_PROMPT = " ".join(map(str, range(100)))  # some hundred tokens in the cache, whatever they say
_TIMEOUT_S = 900


@dataclass(frozen=True)
class Side:
    """One side of a lane's ratio: KV types, tokens in the cache before the first decoded one."""

    k_type: str
    v_type: str
    depth: int

    def seconds(self) -> float:
        """Shortest time of `_TOKENS` decoded tokens in three runs: what else the machine does only adds to it."""
        engine = build_engine(EngineRequest.named("pinned+tbq"))
        if engine.bench is None:
            raise BuildError(f"{engine.folder} has no llama-bench; build that target too")
        model = ensure_registry_model("gemma3-270m")
        argv = [engine.bench, "-m", model, "-t", "1", "-p", "0", "-n", str(_TOKENS), "-d", str(self.depth), "-fa", "1", "-r", "3"]
        argv += ["-ctk", self.k_type, "-ctv", self.v_type, "-o", "json"]
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        samples_ns: list[int] = json.loads(done.stdout)[0]["samples_ns"]
        return min(samples_ns) / 1e9


def _alternating(one: Reading, other: Reading) -> Reading:
    """A reading of `one`'s time over `other`'s; the order changes every time."""
    turn = 0

    def read() -> float:
        nonlocal turn
        turn += 1
        if turn % 2:
            ours = one()
            return ours / other()
        theirs = other()
        return one() / theirs

    return read


@contextmanager
def _lane(k_type: str, v_type: str, depth: int) -> Iterator[Reading]:
    yield _alternating(Side(k_type, v_type, depth).seconds, Side("q4_0", "q4_0", depth).seconds)


@contextmanager
def _served(recipe: str, kv: str, folder: Path) -> Iterator[Reading]:
    """A reading of milliseconds per decoded token, over 8 of them, by a server that is started here and keeps the prompt in its cache."""
    server, model = build_engine(EngineRequest.named(recipe)).server, ensure_registry_model("gemma3-270m")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--port {port} --alias {recipe} -c 1024 -np 1 -t 1 -fa on -fit off -lv 4 --swa-full -ctk {kv} -ctv {kv}".split()
    command = CommandLine(argv=(str(server), "-m", str(model), *flags), env={"PATH": "/usr/bin:/bin"}, policy_env={})
    with launch(LaunchPlan(command, port, recipe, model, folder / f"{recipe}.log", 120.0, 300.0, 10.0)) as running:
        yield partial(_token_ms, running.client)


def _token_ms(client: LlamaClient) -> float:
    reply = client.completion(_PROMPT, n_predict=8, temperature=0, ignore_eos=True, cache_prompt=True)
    if reply.timings is None:
        raise RuntimeError(f"the server answered HTTP {reply.http_status}: {reply.text}")
    return reply.timings.predicted_ms / reply.timings.predicted_n


def _log_ratio(kv: str) -> float:
    """Of the patched engine's time to the unpatched one's: the median of pairs of requests to two fresh servers, in alternating order."""
    with (
        tempfile.TemporaryDirectory(prefix="readiness-bench-") as folder,
        _served("pinned+tbq", kv, Path(folder)) as patched,
        _served("pinned", kv, Path(folder)) as unpatched,
    ):
        patched(), unpatched()  # the prompt is read
        ratio = _alternating(patched, unpatched)
        return statistics.median(math.log(ratio()) for _ in range(_PAIRS))


@contextmanager
def _unchanged(kv: str) -> Iterator[Reading]:
    """The end of the ratio's 95 % interval (over starts of the servers) that is further from 1, percent from 1."""

    def read() -> float:
        found = [_log_ratio(kv) for _ in range(_STARTS)]
        interval = stats.ttest_1samp(found, 0).confidence_interval(0.95)
        low, high = (math.exp(end) for end in interval)
        print(f"       patched over unpatched, {kv} KV: {low:.4f} to {high:.4f}")
        return 100 * max(1 - low, high - 1)

    yield read


def _lane_bench(lane: str, v_type: str, depth: int) -> Bench:
    prepare: Callable[[], AbstractContextManager[Reading]] = partial(_lane, "tbq3_0", v_type, depth)
    return Bench(f"tbq: decode time of {lane} over q4_0 KV at depth {depth}", _SLOWEST_LANE, "times", prepare, repeats=3 if depth else 7)


BENCHES = (
    *(_lane_bench(lane, v_type, depth) for depth in (0, 4096) for lane, v_type in (("k3v3", "tbq3_0"), ("k3v4", "tbq4_0"))),
    *(Bench(f"tbq: {kv} KV, patched against unpatched engine", 2.0, "% from 1", partial(_unchanged, kv), 1) for kv in ("f16", "q8_0")),
)
