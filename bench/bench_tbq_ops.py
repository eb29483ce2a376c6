"""Patch set tbq on an NVIDIA GPU: time of its attention alone over that of F16's own kernel, by upstream's `test-backend-ops perf`.

An engine of the suite has no tests in it. Their folder is what `llama_build/patches/tbq/device/build.sh` leaves (`/tmp/tbq/b/bin`
on the machine with the GPU), and TBQ_PROGRAMS names it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import Bench, Reading

_FOLDER = os.environ.get("TBQ_PROGRAMS")
_PROGRAM = Path(_FOLDER or "") / "test-backend-ops"
_HEAD, _KV_HEADS, _GQA = 512, 4, 8  # a global layer of Gemma 4 31B
_MOST = {  # times F16: (cells, K and V)
    (32768, "tbq3_0"): 1 / 1.5,
    (131072, "tbq3_0"): 1 / 2,
    (131072, "tbq4_0"): 1 / 1.6,
}
_MICROSECONDS = re.compile(r"([\d.]+) us/run")
_TIMEOUT_S = 300


def _microseconds(kv_type: str, cells: int, tokens: int) -> float:
    """Of one layer. Raises ValueError where the program has no such case."""
    case = f"hsk={_HEAD},.*nh={_KV_HEADS},nr23=.{_GQA},1.,kv={cells},nb={tokens},.*type_K={kv_type},type_V={kv_type},permute=.0,2,1,3"
    argv = [str(_PROGRAM), "perf", "-b", "CUDA0", "-o", "FLASH_ATTN_EXT", "-p", case]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    found = _MICROSECONDS.findall(done.stdout)
    if len(found) != 1:
        raise ValueError(f"{_PROGRAM} printed {len(found)} times for {case}. Expected one: build it with the patches of this set.")
    return float(found[0])


@contextmanager
def _over_f16(kv_type: str, cells: int, tokens: int) -> Iterator[Reading]:
    """F16 before and after, so that a drift of the clocks meets both sides."""

    def read() -> float:
        before = _microseconds("f16", cells, tokens)
        ours = _microseconds(kv_type, cells, tokens)
        return 2 * ours / (before + _microseconds("f16", cells, tokens))

    yield read


def _benches() -> Iterator[Bench]:
    for (cells, kv_type), most in _MOST.items():
        for tokens in (1, 4):
            name = f"tbq on CUDA: attention of {tokens} to {cells} cells, {kv_type} over F16"
            yield Bench(name, most, "times", partial(_over_f16, kv_type, cells, tokens), 3)


BENCHES = tuple(_benches()) if _FOLDER and _PROGRAM.exists() else ()
ABSENT = "TBQ_PROGRAMS names no folder with a test-backend-ops"
