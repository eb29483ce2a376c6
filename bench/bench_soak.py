"""What a soak of 299 requests finds: seeded block bootstrap over the recorded memory of clean soaks, with a leak added.

`data/soaks.json`: RssAnon + VmSwap in KiB after each request of clean soaks of real servers on a busy 2-core machine, a list each.
A run is judged as STA-4 does: over all of it after the warm-up, and over its last quarter by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench import Bench, Reading
from fixtures.measure.soak_trend import last_quarter, settled, trend
from fixtures.records.soak import ENOUGH

_RECORDED = [np.diff(np.array(settled(soak))) for soak in json.loads((Path(__file__).parent / "data" / "soaks.json").read_text("utf-8"))]
_RUNS, _BLOCK, _LIMIT_KIB = 1000, 24, 32.0


def _memory(rng: np.random.Generator, leak_kib: float) -> list[float]:
    """Memory after each request of a soak, its warm-up left out."""
    length = len(settled([0.0] * ENOUGH))
    steps: list[float] = []
    while len(steps) < length:
        soak = _RECORDED[rng.integers(len(_RECORDED))]
        start = int(rng.integers(0, soak.size - _BLOCK + 1))
        steps += soak[start : start + _BLOCK].tolist()
    return [float(value) for value in np.cumsum(steps[:length]) + leak_kib * np.arange(length)]


def _found(memory: list[float]) -> bool:
    """Whether STA-4 fails."""
    slopes = (trend(memory), trend(last_quarter(memory)))
    return any(slope is not None and slope.low > _LIMIT_KIB for slope in slopes)


def _found_pct(leak_kib: float) -> float:
    rng = np.random.default_rng(299)
    return 100 * sum(_found(_memory(rng, leak_kib)) for _ in range(_RUNS)) / _RUNS


@contextmanager
def _false_alarms() -> Iterator[Reading]:
    yield lambda: _found_pct(0.0)


@contextmanager
def _missed() -> Iterator[Reading]:
    yield lambda: 100 - _found_pct(64.0)


@contextmanager
def _detectable() -> Iterator[Reading]:
    """The smallest leak of which 99 of 100 are found."""
    yield lambda: next(leak for leak in np.arange(_LIMIT_KIB, 128.0, 1.0).tolist() if _found_pct(leak) >= 99)


BENCHES = (
    Bench("soak: false alarms over clean memory, of 1000 runs of 299 requests", 1, "%", _false_alarms, repeats=1),
    Bench("soak: leaks of 64 KiB a request that are missed, of 1000 runs", 1, "%", _missed, repeats=1),
    Bench("soak: the leak of which 99 of 100 are found", 40, "KiB a request", _detectable, repeats=1),
)
