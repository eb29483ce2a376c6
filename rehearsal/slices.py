"""A rehearsal in slices: each step says whether it is done, and stops when the call's time is up."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


class TimeUp(BaseException):
    """The time of this call is over in the middle of a step; not an Exception, so that nothing on the way takes it for a failure."""


@dataclass
class Slice:
    """The time of one call, in seconds; None: as long as it takes. `took` holds the steps that were done in it."""

    seconds: float | None
    started: float = field(default_factory=time.monotonic)
    took: dict[str, float] = field(default_factory=dict)

    @property
    def left_s(self) -> float | None:
        """What is left of it, at least 0."""
        return None if self.seconds is None else max(0.0, self.started + self.seconds - time.monotonic())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step. Raises TimeUp in it when the slice ends; only in the main thread."""
        left, begun = self.left_s, time.monotonic()
        if left == 0.0:
            raise TimeUp
        before = signal.signal(signal.SIGALRM, _time_up)
        signal.setitimer(signal.ITIMER_REAL, left or 0.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        self.took[name] = time.monotonic() - begun


def _time_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeUp
