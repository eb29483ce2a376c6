"""The speed that the gates measure, against llama-bench: same model, KV types, threads and depth, nothing drafting, in alternating order.

llama-server takes 4-5 % of its own for sampling (docs/facts.md#speed), which `top_k = 1` closes most of: that is how the gates ask.
"""

from __future__ import annotations

import json
import math
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from scipy import stats

from bench import Bench, Reading
from fixtures.catalog.host import SpeedPlan
from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, Server, launch
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.speed_requests import SpeedTask, answered
from fixtures.models.registry import ensure_registry_model
from llama_build import BuildError, EngineRequest, build_engine

_PAIRS, _TOKENS, _KV = 12, 512, "q8_0"
_TIMEOUT_S = 900


@contextmanager
def _served(model: Path, folder: Path) -> Iterator[Server]:
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--port {port} --alias bench -c 2048 -np 1 -t 1 -fa on -fit off -ctk {_KV} -ctv {_KV}".split()
    command = CommandLine(argv=(str(server), "-m", str(model), *flags), env={"PATH": "/usr/bin:/bin"}, policy_env={})
    with launch(LaunchPlan(command, port, "bench", model, folder / "bench.log", 120.0, 300.0, 10.0)) as running:
        yield running


def _bench_tps(model: Path, depth: int) -> float:
    """One run of llama-bench, in t/s."""
    engine = build_engine(EngineRequest.named("pinned+tbq"))
    if engine.bench is None:
        raise BuildError(f"{engine.folder} has no llama-bench; build that target too")
    argv = [engine.bench, "-m", model, "-t", "1", "-p", "0", "-n", str(_TOKENS), "-d", str(depth), "-fa", "1", "-r", "1"]
    argv += ["-ctk", _KV, "-ctv", _KV, "-o", "json"]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    return float(json.loads(done.stdout)[0]["avg_ts"])


def _log_ratios(key: str) -> Iterator[float]:
    """Of the gates' speed to llama-bench's, pair by pair."""
    model = ensure_registry_model(key)
    task = SpeedTask(SpeedPlan(max_tokens=_TOKENS), load_speed_prompts("repetitive-en"), "completion")
    with tempfile.TemporaryDirectory(prefix="readiness-bench-") as folder, _served(model, Path(folder)) as server:
        depth = answered(server, task, 0, None).prompt_n  # what a start costs is no part of it
        for pair in range(1, _PAIRS + 1):
            theirs = _bench_tps(model, depth) if pair % 2 else 0.0
            ours = answered(server, task, pair, None).tps
            theirs = theirs or _bench_tps(model, depth)
            if ours is None:
                raise RuntimeError(f"request {pair} decoded nothing")
            yield math.log(ours / theirs)


@contextmanager
def _apart(key: str) -> Iterator[Reading]:
    """The end of the ratio's 95 % interval that is further from 1, percent from 1."""

    def read() -> float:
        low, high = (math.exp(end) for end in stats.ttest_1samp(list(_log_ratios(key)), 0).confidence_interval(0.95))
        print(f"       llama-server over llama-bench, {key}: {low:.4f} to {high:.4f}")
        return 100 * max(1 - low, high - 1)

    yield read


BENCHES = tuple(
    Bench(f"server: decode speed of {key} against llama-bench", 5.0, "% from 1", partial(_apart, key), repeats=1)
    for key in ("gemma3-270m", "smollm2-135m")
)
