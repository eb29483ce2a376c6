"""`python -m rehearsal.red`: deployments that are wrong on a GPU, each of which its own gate must catch, and name its cause.

A fault is one small host: a candidate of the rehearsal's smallest model, spoiled. Exit status: 0 all caught, 1 one was not, 2 not possible.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fixtures.catalog.errors import CatalogError
from fixtures.catalog.host import Host
from fixtures.catalog.load import load_host, load_lanes
from fixtures.engine.host_engine import HostEngine
from fixtures.models.errors import ArtefactError
from fixtures.models.twins import ensure_twin
from fixtures.records.blocked import Blocked
from llama_build.toolchain import CUDA_ROOTS, find_nvcc
from llama_build.types import BuildError
from rehearsal.install import ROOT

_CANDIDATE = "e4b-k3v3"
_BURN_S = 60.0
_POLL_S = 0.2
_STOPPED_S = 0.02
_SLOWER_PCT = 20.0  # than before is a fault: what a noisy machine's two runs differ by is not
_NOISE_PCT = 25.0  # by which the times of a machine that is lent may vary: what is looked for is larger
_BUSY = 4  # polls in a row that find the server at work: the warm-up is over

Data = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """`spoil` changes the host; the gate `requirement`, run by `test`, must then be `verdict` and say all of `says`.

    `burn`: a neighbour keeps the GPU busy meanwhile. `slower`: than the same gate found it before, which becomes its limit.
    """

    name: str
    spoil: Callable[[Data, Path], None]
    requirement: str
    test: str
    verdict: str
    says: tuple[str, ...]
    burn: bool = False
    slower: bool = False


def _hidden(host: Data, _work: Path) -> None:
    host["engine"]["env"] = {"CUDA_VISIBLE_DEVICES": ""}


def _half(host: Data, _work: Path) -> None:
    """With a KV type that both devices can attend to: the engine itself refuses tbq3_0 there."""
    host["launch"]["gpu_layers"] = 21
    host["candidates"][0]["lane"] = "q8"


def _cpu_build(host: Data, _work: Path) -> None:
    host["engine"] |= {"recipe": "pinned+tbq", "preset": "cpu", "path": None, "commit": None}


def _cpu_type(host: Data, work: Path) -> None:
    """The server starts with a KV type for which CUDA has no attention."""
    _behind_script(host, work, 'for word; do case $word in tbq3_0|tbq4_0) word=iq4_nl;; esac; set -- "$@" "$word"; shift; done')


def _throttled(host: Data, work: Path) -> None:
    """The server is stopped half of the time, as a card whose clocks are held down works half as fast; the clocks stay as they are."""
    on_and_off = f"sleep {_STOPPED_S}; kill -STOP $$ && sleep {_STOPPED_S} && kill -CONT $$"
    _behind_script(host, work, f"(while {on_and_off}; do :; done) >/dev/null 2>&1 &")


def _behind_script(host: Data, work: Path, lines: str) -> None:
    """The engine with a script in the place of its server, as an owner's wrapper would be, which goes on as the server."""
    engine = Path(host["engine"]["path"])
    for file in engine.iterdir():
        (work / file.name).symlink_to(file)
    (work / "llama-server").unlink()
    (work / "llama-server").write_text(f'#!/bin/sh\n{lines}\nexec "{engine}/llama-server" "$@"\n', encoding="utf-8")
    (work / "llama-server").chmod(0o755)
    host["engine"] |= {"path": str(work)}


def _drafter(host: Data, _work: Path) -> None:
    host["models"]["small"]["drafter"] = {"kind": "twin", "twin": "twin30", "variant": "scripted"}


def _as_it_is(_host: Data, _work: Path) -> None:
    """A neighbour spoils it."""


FAULTS = (
    Fault("hidden GPU", _hidden, "KV-5", "test_placement", "FAIL", ("found no GPU",)),
    Fault("half the layers on the CPU", _half, "KV-5", "test_placement", "FAIL", ("q8_0", "CPU", "21 of 43 layers")),
    Fault("KV type that CUDA cannot attend to", _cpu_type, "KV-5", "test_placement", "FAIL", ("graph splits", "iq4_nl")),
    Fault("engine built for the CPU", _cpu_build, "KV-5", "test_placement", "FAIL", ("tbq3_0", "CPU")),
    Fault("drafter of another model", _drafter, "AUD-1", "test_artefacts", "FAIL", ("drafter",)),
    Fault("neighbour on the GPU", _as_it_is, "TPS-1", "test_decode_speed", "INVALID", ("burner",), burn=True),
    Fault("clocks held down", _throttled, "TPS-1", "test_decode_speed", "FAIL", ("decode speed is",), slower=True),
)


def small_host(host: Host, engine: Path, commit: str) -> Data:
    """The host with its smallest candidate alone, as a host of its own: a stand-in, whose names say so."""
    data: Data = host.model_dump(mode="json", by_alias=True, exclude_none=True)
    one: Data = next(candidate for candidate in data["candidates"] if candidate["id"] == _CANDIDATE)
    model: Data = data["models"][one["model"]]
    for name in ("base", "rows", "audit", "fallback"):
        data.pop(name, None)
    one |= {"id": "small-k3v3", "title": "Smallest candidate, spoiled", "model": "small", "role": "standin", "compare_with": []}
    data |= {"id": "red", "title": "A spoiled deployment", "standin": True, "candidates": [one], "models": {"small": model}}
    data |= {"goal": {"models": ["small"]}}
    data["engine"] |= {"recipe": "path", "path": str(engine), "commit": data["engine"].get("commit") or commit}
    return data


def toml(value: Any) -> str:
    """A value as TOML writes it in one line; what is None is left out."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items() if item is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def host_file(data: Mapping[str, Any]) -> str:
    """A host file of that data."""
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in data.items() if value is not None)


def judged(reports: Path, requirement: str) -> tuple[str, str, float]:
    """Verdict, reason and number (0 for none) of the one gate of the newest run."""
    run = max(reports.glob("*-red-*"))
    verdict = json.loads((run / "verdict.json").read_text(encoding="utf-8"))
    gate = next(gate for gate in verdict["candidates"][0]["gates"] if gate["requirement"] == requirement)
    judgement = gate["judgement"]
    return judgement["verdict"], judgement["reason"], judgement.get("measured") or 0.0


def caught(fault: Fault, verdict: str, reason: str) -> bool:
    """Whether the gate says what it must."""
    return verdict == fault.verdict and all(word in reason for word in fault.says)


def show(fault: Fault, host: Data, reports: Path, burner: Path | None) -> bool:
    """Run the one gate over the spoiled host, and tell what it said; whether it caught the fault."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "engine").mkdir()
        data = copy.deepcopy(host)
        if fault.slower:
            _limit_by_what_it_is(fault, data, work, reports)
        fault.spoil(data, work / "engine")
        verdict, reason, _ = _run(fault, data, work, reports, burner)
    good = caught(fault, verdict, reason)
    print(f"{'caught' if good else 'MISSED'}  {fault.name}: {fault.requirement} {verdict}: {reason}", flush=True)
    return good


def _limit_by_what_it_is(fault: Fault, data: Data, work: Path, reports: Path) -> None:
    """The number that the gate finds over the host as it is becomes the reference of its limit."""
    data["speed"]["max_cv_pct"] = _NOISE_PCT
    limit = data["candidates"][0]["limits"]["decode_tps"]
    verdict, reason, measured = _run(fault, data, work, reports, None)
    print(f"before  {fault.name}: {fault.requirement} {verdict}: {reason}", flush=True)
    for key in ("reference_high", "over"):
        limit.pop(key, None)
    limit |= {"reference": measured, "tolerance": _SLOWER_PCT, "relative": True, "source": "the same gate, before"}


def _run(fault: Fault, data: Data, work: Path, reports: Path, burner: Path | None) -> tuple[str, str, float]:
    """Verdict, reason and number of the gate over that host."""
    file = work / "red.toml"
    file.write_text(host_file(data), encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", f"--host={file}", f"--reports={reports}", "-q", "-k", fault.test]
    with _burning(burner if fault.burn else None, data["ports"]["test"]):
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return judged(reports, fault.requirement)
    except (ValueError, StopIteration, OSError):
        return "no verdict", done.stdout[-2000:] + done.stderr[-2000:], 0.0


@contextmanager
def _burning(burner: Path | None, port: int) -> Iterator[None]:
    """While in the context: a busy neighbour, from the moment that the server on `port` has been at work for a while."""
    if burner is None:
        yield
        return
    code = f"import rehearsal.red as r; r.burn_when_busy({str(burner)!r}, {port})"
    waiting = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(waiting.pid, 9)
        waiting.wait()


def burn_when_busy(burner: str, port: int) -> None:
    """Wait until the server on `port` is at work, then keep the GPU busy."""
    busy = 0
    while busy < _BUSY:
        time.sleep(_POLL_S)
        busy = busy + 1 if _at_work(port) else 0
    subprocess.run([burner, str(_BURN_S)], check=False)


def _at_work(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=1) as answer:
            return any(slot.get("is_processing") for slot in json.loads(answer.read()))
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _compiled(work: Path) -> Path:
    nvcc = find_nvcc(None, os.environ, CUDA_ROOTS)
    subprocess.run([nvcc, "-O2", "-arch=native", "-o", work / "burner", ROOT / "rehearsal" / "burner.cu"], check=True)
    return work / "burner"


def run(names: Sequence[str], host_name: str, overlay: Path | None, reports: Path) -> int:
    """Show every fault of that name. Raises Blocked, CatalogError, BuildError, OSError."""
    host = load_host(host_name, overlay=overlay)
    engine = HostEngine(host, load_lanes(), print, lambda: None)
    engine.build()
    ensure_twin("twin30", "scripted")
    data = small_host(host, engine.built.folder, engine.dialect.commit)
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    with tempfile.TemporaryDirectory() as name:
        burner = _compiled(Path(name)) if any(fault.burn for fault in chosen) else None
        missed = [fault for fault in chosen if not show(fault, data, reports, burner)]
        return 1 if missed else 0


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.red", description="Wrong deployments, each caught by its gate.")
    parser.add_argument("--host", default="dgx-rehearsal")
    parser.add_argument("--overlay", type=Path, help="as pytest's")
    parser.add_argument("--reports", type=Path, default=ROOT / "reports", help="as pytest's")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(fault.name for fault in FAULTS)} (default: all)")
    given = parser.parse_args()
    try:
        return run(given.names, given.host, given.overlay, given.reports)
    except (Blocked, ArtefactError, CatalogError, BuildError, OSError, subprocess.CalledProcessError) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
