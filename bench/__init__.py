"""Benchmarks of the suite itself, each with a bound: `make bench`, or `python -m bench [WORD]`. Never part of the tests.

A module `bench_<topic>.py` holds `BENCHES`, a tuple of `Bench`; the runner finds it by its name. Where it has none for want of a
machine, its `ABSENT` says why. Anything that takes a reading fits: a time, a share of a core, bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

Reading = Callable[[], float]


@dataclass(frozen=True)
class Bench:
    """What is read, and the bound (in `unit`) that the median of its readings must stay below.

    `prepare` makes what the readings need, yields the function that takes one, and clears up.
    """

    name: str
    bound: float
    unit: str
    prepare: Callable[[], AbstractContextManager[Reading]]
    repeats: int = 7


def milliseconds(work: Callable[[], object]) -> Reading:
    """A reading of how long `work` takes."""

    def read() -> float:
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) * 1000

    return read
