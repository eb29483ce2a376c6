"""The guard: what a look at the machine costs beside its load window, and what sampling costs during a measurement."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import Bench, Reading, milliseconds
from fixtures.catalog.host import Competing
from fixtures.catalog.load import load_host
from fixtures.host.session_guard import SessionGuard
from fixtures.host.snapshot import Sampler

_WINDOW_S = 0.001  # the window itself is waiting, not cost
_SAMPLED_S = 12.0  # more than the 10 s after which all command lines are read again
_ASR = Competing(name="ASR", cmdline="asr-of-no-machine", max_cpu_pct=50)


@contextmanager
def _decision() -> Iterator[Reading]:
    host = load_host("local", bare=True)
    with tempfile.TemporaryDirectory(prefix="readiness-bench-") as folder:
        guard = host.guard.model_copy(update={"lock": f"{folder}/run.lock", "window_s": _WINDOW_S, "competing": (_ASR,)})
        ours = host.model_copy(update={"guard": guard})

        def decide() -> None:
            with SessionGuard(ours, lock_only=False, wait_s=0, progress=print, disk=Path(folder)) as session:
                if reason := session.may_run():
                    raise AssertionError(f"this machine is not clear: {reason}")

        yield milliseconds(decide)


@contextmanager
def _sampling() -> Iterator[Reading]:
    def share_pct() -> float:
        began, used_s = time.monotonic(), time.process_time()
        with Sampler((_ASR,), disk=Path.cwd()):
            time.sleep(_SAMPLED_S)
        return 100 * (time.process_time() - used_s) / (time.monotonic() - began)

    yield share_pct


BENCHES = (
    Bench("guard without its load window, lock taken and released", 1500, "ms", _decision),
    Bench("sampling once a second", 1.0, "% of a core", _sampling, repeats=3),
)
