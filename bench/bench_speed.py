"""What stopping early costs: seeded block bootstrap over the recorded noise of requests, scaled to 3 %.

`data/speed-residuals.json`: 46 requests to gemma3-270m on a busy 2-core machine, logarithms of their speeds less a parabola through
them, in standard deviations; neighbours are correlated by 0.39. A run looks as the gate does: after each request from the 6th on, to 40.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench import Bench, Reading
from fixtures.catalog.host import SpeedPlan
from fixtures.measure.statistics import decided, spread

_RECORDED = np.array(json.loads((Path(__file__).parent / "data" / "speed-residuals.json").read_text("utf-8")))
_PLAN = SpeedPlan()
_RUNS, _BLOCK, _NOISE = 1000, 4, 0.03


def _run(rng: np.random.Generator, speed: float) -> tuple[bool, int]:
    """Whether a run at `speed` times the least that is allowed is found too slow, and after how many requests it ends."""
    starts = rng.integers(0, _RECORDED.size - _BLOCK + 1, _PLAN.max_requests // _BLOCK + 1)
    noise = np.concatenate([_RECORDED[start : start + _BLOCK] for start in starts])[: _PLAN.max_requests]
    speeds = speed * np.exp(_NOISE * (noise - _RECORDED.mean()))
    for n in range(_PLAN.requests, _PLAN.max_requests + 1):
        found = spread(speeds[:n])
        if decided(found, 1.0):
            return found.mean < 1.0, n
    return False, _PLAN.max_requests


def _simulated(speed: float) -> tuple[float, float]:
    """Share of the runs that are found too slow, in percent, and requests of the median run."""
    rng = np.random.default_rng(17)
    runs = [_run(rng, speed) for _ in range(_RUNS)]
    return 100 * sum(slow for slow, _ in runs) / _RUNS, float(np.median([n for _, n in runs]))


@contextmanager
def _missed() -> Iterator[Reading]:
    yield lambda: 100 - _simulated(0.95)[0]


@contextmanager
def _false_alarms() -> Iterator[Reading]:
    yield lambda: _simulated(1.0)[0]


@contextmanager
def _requests() -> Iterator[Reading]:
    yield lambda: _simulated(0.95)[1]


BENCHES = (
    Bench("speed: 5 % slow-downs missed at 3 % noise, of 1000 runs", 5, "%", _missed, repeats=1),
    Bench("speed: false alarms at the limit itself, of 1000 runs", 1, "%", _false_alarms, repeats=1),
    Bench("speed: requests until a 5 % slow-down is decided", 20, "requests", _requests, repeats=1),
)
