"""What stopping early costs: seeded block bootstrap over the recorded noise of requests, scaled to 3 %.

`data/speed-residuals.json`: 46 requests to gemma3-270m on a busy 2-core machine, logarithms of their speeds less a parabola through
them, in standard deviations; neighbours are correlated by 0.39. A run looks as the gate does: after each request from the 6th on, to 40.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from bench import Bench, Reading
from fixtures.catalog.host import SpeedPlan
from fixtures.measure.statistics import decided, spread

_RECORDED = np.array(json.loads((Path(__file__).parent / "data" / "speed-residuals.json").read_text("utf-8")))
_PLAN = SpeedPlan()
_RUNS, _BLOCK, _NOISE = 1000, 4, 0.03


def _run(rng: np.random.Generator, speed: float, categories: int) -> tuple[bool, int]:
    """Whether a run at `speed` times the least that is allowed is found too slow, and after how many requests it ends.

    A mix has so many categories, which take turns and differ by up to half.
    """
    starts = rng.integers(0, _RECORDED.size - _BLOCK + 1, _PLAN.max_requests // _BLOCK + 1)
    noise = np.concatenate([_RECORDED[start : start + _BLOCK] for start in starts])[: _PLAN.max_requests]
    of = np.arange(_PLAN.max_requests) % categories
    offset = np.linspace(-0.25, 0.25, categories) if categories > 1 else np.zeros(1)
    speeds = speed * np.exp(_NOISE * (noise - _RECORDED.mean()) + offset[of])
    groups = [str(number) for number in of]
    for n in range(max(_PLAN.requests, 2 * categories if categories > 1 else 0), _PLAN.max_requests + 1):
        found = spread(speeds[:n], groups[:n])
        if decided(found, 1.0):
            return found.mean < 1.0, n
    return False, _PLAN.max_requests


def _simulated(speed: float, categories: int) -> tuple[float, float]:
    """Share of the runs that are found too slow, in percent, and requests of the median run."""
    rng = np.random.default_rng(17)
    runs = [_run(rng, speed, categories) for _ in range(_RUNS)]
    return 100 * sum(slow for slow, _ in runs) / _RUNS, float(np.median([n for _, n in runs]))


@contextmanager
def _missed(categories: int) -> Iterator[Reading]:
    yield lambda: 100 - _simulated(0.95, categories)[0]


@contextmanager
def _false_alarms(categories: int) -> Iterator[Reading]:
    yield lambda: _simulated(1.0, categories)[0]


@contextmanager
def _requests(categories: int) -> Iterator[Reading]:
    yield lambda: _simulated(0.95, categories)[1]


def _of(categories: int, asked: str) -> tuple[Bench, ...]:
    return (
        Bench(f"{asked}: 5 % slow-downs missed at 3 % noise, of 1000 runs", 5, "%", partial(_missed, categories), repeats=1),
        Bench(f"{asked}: false alarms at the limit itself, of 1000 runs", 1, "%", partial(_false_alarms, categories), repeats=1),
        Bench(f"{asked}: requests until a 5 % slow-down is decided", 20, "requests", partial(_requests, categories), repeats=1),
    )


BENCHES = (*_of(1, "speed"), *_of(6, "speed of a mix"))
