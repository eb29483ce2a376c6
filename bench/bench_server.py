"""The speed that the gates measure, against llama-bench: same model, KV types, threads and depth, nothing drafting, in alternating order.

For each token llama-server does what llama-bench does not: it chooses one out of the vocabulary, reads and sends it. Out of 262144 that
takes the CPU longer than 3 % of a fast card's token (docs/facts.md#speed), so full twins have the device choose, and what the CPU takes for
it is a benchmark of its own. The rest is 0.1 to 0.2 ms, 3 % of 4.5 ms: it is measured beside each full twin on one with the same vocabulary
and hardly anything else. The ratio is judged as it is; what it were if llama-bench did that, too, is told beside it.
Full twins are compared with CUDA graphs: where the CPU launches each kernel, two launches on a virtual machine differ by up to 15 %. What
graphs give is a benchmark of its own, too.
BENCH_ENGINE may name a folder with ready CUDA programs, in the place of an engine that would be built.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

from scipy import stats

from bench import Bench, Reading
from bench.cuda import DRIVER, cuda_preset
from fixtures.catalog.host import SpeedPlan
from fixtures.catalog.model import TwinVariant
from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, Server, launch
from fixtures.host.snapshot import Sampler
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.speed_requests import SpeedRequest, SpeedTask, body_of, timed
from fixtures.models.cache import cache_root
from fixtures.models.registry import ensure_registry_model
from fixtures.models.twins import ensure_twin
from llama_build import BuildError, BuiltEngine, EngineRequest, build_engine

_TOKENS, _WARM_UP_TOKENS = 512, 32
_TIMEOUT_S = 900
# the highest of all, without sorting for it: greedy with top_k = 1 takes the device 2 % of E4B's time
_ON_THE_DEVICE = {"backend_sampling": True, "samplers": ["temperature"]}
_NO_GRAPHS = {"GGML_CUDA_DISABLE_GRAPHS": "1"}  # as all candidates of host dgx have it
_WATCHED_PAIRS, _WATCHED_TOKENS = 24, 256  # many short ones: what is looked for is smaller than what two runs differ by


@dataclass(frozen=True)
class Compared:
    """What both programs are given; how far (percent) one may be from the other, how often both are started, and run once started."""

    name: str
    model: Callable[[], Path]
    engine: Callable[[], BuiltEngine]
    flags: tuple[str, ...]
    kv: tuple[str, str]
    bound: float
    pairs: int
    runs: int = 1  # of which the fastest counts
    env: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # of the server's requests, beside those of a gate
    beside: Compared | None = None  # a model with hardly anything to compute, on which the server's own work for a token is seen


def _twin(twin: str, variant: TwinVariant) -> Path:
    return ensure_twin(twin, variant).target


def _on_cuda() -> BuiltEngine:
    if folder := os.environ.get("BENCH_ENGINE"):
        return build_engine(EngineRequest.named("path", path=Path(folder)))
    return build_engine(EngineRequest.named("pinned+tbq", cuda_preset()))


def _on_cpu() -> BuiltEngine:
    return build_engine(EngineRequest.named("pinned+tbq"))


_SMALL = tuple(
    Compared(key, partial(ensure_registry_model, key), _on_cpu, ("-t", "1"), ("q8_0", "q8_0"), 5.0, 12, 2)
    for key in ("gemma3-270m", "smollm2-135m")
)
_GEOMETRY = Compared("the geometry of 31B", partial(_twin, "twin60", "geometry"), _on_cuda, ("-ngl", "99"), ("q8_0", "q8_0"), 3.0, 12)
_BARE = Compared(
    name="the bare vocabulary",
    model=partial(_twin, "twin2", "full"),
    engine=_on_cuda,
    flags=("-ngl", "99"),
    kv=("tbq3_0", "tbq3_0"),
    bound=3.0,
    pairs=8,
    runs=3,
    options=_ON_THE_DEVICE,
)
_FULL = tuple(
    replace(_BARE, name=title, model=partial(_twin, twin, "full"), beside=_BARE)
    for title, twin in (("31B", "twin60"), ("26B-A4B", "twin30"), ("E4B", "twin42"))
)


@contextmanager
def _served(one: Compared) -> Iterator[Server]:
    """A server of its own, which has answered once: what a first request costs is no part of any speed."""
    model, (k_type, v_type) = one.model(), one.kv
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = f"--port {port} --alias bench -c 2048 -np 1 -fa on -fit off -ctk {k_type} -ctv {v_type}".split()
    argv = (str(one.engine().server), "-m", str(model), *flags, *one.flags)
    command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", **one.env}, policy_env={})
    with tempfile.TemporaryDirectory(prefix="readiness-bench-") as folder:
        plan = LaunchPlan(command, port, "bench", model, Path(folder) / "bench.log", 120.0, 300.0, 10.0)
        with launch(plan) as running:
            _asked(running, _WARM_UP_TOKENS)
            yield running


def _asked(server: Server, tokens: int, options: Mapping[str, Any] | None = None, sampler: Sampler | None = None) -> SpeedRequest:
    """One request as the speed gates send it, with further `options`."""
    task = SpeedTask(SpeedPlan(max_tokens=tokens), load_speed_prompts("repetitive-en"), "completion")
    prompt = task.prompts.at(0, task.seed, task.api)
    return timed(server, {**body_of(task, prompt), **(options or {})}, prompt, "request", sampler)


def _server_tps(server: Server, options: Mapping[str, Any] | None = None, sampler: Sampler | None = None, tokens: int = _TOKENS) -> float:
    if (tps := _asked(server, tokens, options, sampler).tps) is None:
        raise RuntimeError("the server decoded nothing")
    return tps


def _bench_tps(one: Compared, depth: int) -> float:
    """One start of llama-bench, in t/s: the fastest of its runs, since what else a machine does only ever slows one down."""
    engine, (k_type, v_type) = one.engine(), one.kv
    if engine.bench is None:
        raise BuildError(f"{engine.folder} has no llama-bench; build that target too")
    argv = [engine.bench, "-m", one.model(), *one.flags, "-p", "0", "-n", str(_TOKENS), "-d", str(depth), "-fa", "1", "-r", str(one.runs)]
    argv += ["-ctk", k_type, "-ctv", v_type, "-o", "json"]
    env = {**os.environ, **one.env}
    done = subprocess.run([str(word) for word in argv], env=env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    samples_ns: list[int] = json.loads(done.stdout)[0]["samples_ns"]
    return _TOKENS * 1e9 / min(samples_ns)


def _in_turns(pairs: int, ours: Callable[[], float], theirs: Callable[[], float]) -> list[tuple[float, float]]:
    """Our speed and theirs, in alternating order, so that a drift meets both sides."""
    found: list[tuple[float, float]] = []
    for pair in range(pairs):
        before = theirs() if pair % 2 else 0.0
        now = ours()
        found.append((now, before or theirs()))
    return found


def _launched_tps(one: Compared) -> float:
    """Of a server of its own, the fastest of its runs: where memory lies is a launch's own luck."""
    with _served(one) as server:
        return max(_server_tps(server, one.options) for _ in range(one.runs))


def _interval(ratios: Iterable[float]) -> tuple[float, float]:
    """The 95 % interval of their geometric mean."""
    interval = stats.ttest_1samp([math.log(ratio) for ratio in ratios], 0).confidence_interval(0.95)
    return math.exp(interval.low), math.exp(interval.high)


@contextmanager
def _apart(one: Compared) -> Iterator[Reading]:
    """The end of the ratio's 95 % interval that is further from 1, percent from 1."""

    def read() -> float:
        with _served(one) as server:
            depth = _asked(server, _WARM_UP_TOKENS).prompt_n
        pairs = _in_turns(one.pairs, partial(_launched_tps, one), partial(_bench_tps, one, depth))
        low, high = _interval(ours / theirs for ours, theirs in pairs)
        print(f"       llama-server over llama-bench, {one.name}: {low:.4f} to {high:.4f}", flush=True)
        if one.beside is not None:
            _tell_own_work(pairs, [_own_ms(one.beside, depth) for _ in pairs])
        return 100 * max(1 - low, high - 1)

    yield read


def _own_ms(bare: Compared, depth: int) -> float:
    """What llama-server takes longer for a token than llama-bench, whatever the model."""
    return 1000 / _launched_tps(bare) - 1000 / _bench_tps(bare, depth)


def _tell_own_work(pairs: Sequence[tuple[float, float]], own_ms: Sequence[float]) -> None:
    low, high = _interval(ours * (1 / theirs + own / 1000) for (ours, theirs), own in zip(pairs, own_ms, strict=True))
    told = f"{fmean(own_ms):.3f} ms ({min(own_ms):.3f} to {max(own_ms):.3f})"
    print(f"       with the server's own work for a token, {told}, given to llama-bench, too: {low:.4f} to {high:.4f}", flush=True)


@contextmanager
def _choosing(one: Compared) -> Iterator[Reading]:
    """What choosing a token takes on the CPU, percent of the speed with which the device chooses."""
    with _served(one) as server:
        told = f"chosen by the CPU over the device, {one.name}"
        yield lambda: _taken(told, one.pairs, partial(_server_tps, server), partial(_server_tps, server, _ON_THE_DEVICE))


@contextmanager
def _watching(one: Compared) -> Iterator[Reading]:
    """What it takes to look at the machine meanwhile, as all gates do, percent of the speed without."""
    with _served(one) as server:
        unwatched = partial(_server_tps, server, tokens=_WATCHED_TOKENS)
        yield lambda: _taken(f"watched over unwatched, {one.name}", _WATCHED_PAIRS, partial(_watched_tps, server), unwatched)


def _watched_tps(server: Server) -> float:
    with Sampler((), disk=cache_root()) as sampler:
        return _server_tps(server, None, sampler, _WATCHED_TOKENS)


@contextmanager
def _launching(one: Compared) -> Iterator[Reading]:
    """What it takes to launch each kernel by itself, percent of llama-bench's speed with CUDA graphs."""
    without = replace(one, env=_NO_GRAPHS)
    yield lambda: _taken(f"without graphs over with, {one.name}", one.pairs, partial(_bench_tps, without, 0), partial(_bench_tps, one, 0))


def _taken(told: str, pairs: int, ours: Callable[[], float], theirs: Callable[[], float]) -> float:
    """How much slower ours is, in percent; in alternating order, after one of theirs that does not count."""
    theirs()
    ratios = [one / other for one, other in _in_turns(pairs, ours, theirs)]
    low, high = _interval(ratios)
    print(f"       {told}: {low:.4f} to {high:.4f}")
    return 100 * (1 - geometric_mean(ratios))


def _benches() -> Iterator[Bench]:
    for one in (*_SMALL, *((_GEOMETRY, *_FULL) if DRIVER.exists() else ())):
        yield Bench(f"server: decode speed of {one.name} against llama-bench", one.bound, "% from 1", partial(_apart, one), 1)
    for one in (*_SMALL, *(_FULL if DRIVER.exists() else ())):
        yield Bench(f"watching the machine: what it takes of the decode speed of {one.name}", 1.0, "%", partial(_watching, one), 1)
    for one in _FULL if DRIVER.exists() else ():
        yield Bench(f"choosing a token: what it takes of the decode speed of {one.name}", 15.0, "%", partial(_choosing, one), 1)
        yield Bench(f"CUDA graphs: what their absence takes of the decode speed of {one.name}", 25.0, "%", partial(_launching, one), 1)


BENCHES = tuple(_benches())
