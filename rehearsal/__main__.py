"""`python -m rehearsal`: engine, full twins, sign-off and a report to take home; what is done is not done again.

With `--seconds` a call ends in time, and the next one goes on. Exit status: the sign-off's; 75 where time is up; 2 where it cannot be done.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from fixtures.catalog.errors import CatalogError
from fixtures.catalog.host import Host
from fixtures.catalog.load import load_host, load_lanes
from fixtures.catalog.model import TwinArtefact
from fixtures.engine.host_engine import HostEngine
from fixtures.host.gpu import GpuError, gpu_readings
from fixtures.models.cache import cache_root
from fixtures.models.errors import ArtefactError
from fixtures.models.twins import ensure_twin, find_twin, full_bytes
from fixtures.records.blocked import Blocked
from llama_build.pinned import load_pin
from llama_build.progress import clock, console
from llama_build.store import Store
from rehearsal.install import KIT, ROOT
from rehearsal.slices import Slice, TimeUp

_HOST = "dgx-rehearsal"
_AGAIN = 75  # as pytest's runs end that may be tried again
_IMPOSSIBLE = 2
_END_S = 45.0  # that a session has to stop its server and write its report


def bring(sources: Path) -> None:
    """The kit's engine source, where the builder looks for it."""
    packed = KIT / load_pin().packed
    if packed.is_file() and not (sources / packed.name).exists():
        sources.mkdir(parents=True, exist_ok=True)
        shutil.copy2(packed, sources / packed.name)


def missing_twins(host: Host) -> list[TwinArtefact]:
    """The full twins that the host serves and that are not written yet."""
    artefacts = [model.target for model in host.models.values()]
    return [one for one in artefacts if isinstance(one, TwinArtefact) and find_twin(one.twin, one.variant) is None]


def check_room(twins: Sequence[TwinArtefact]) -> None:
    """Raises Blocked where the cache's disk cannot hold the twins: told before an engine is compiled."""
    cache_root().mkdir(parents=True, exist_ok=True)
    need, free = sum(full_bytes(one.twin) for one in twins if one.variant == "full"), shutil.disk_usage(cache_root()).free
    if free < need:
        raise Blocked(
            f"the models take {need / 1e9:.0f} GB, and {cache_root()} has {free / 1e9:.0f} GB free: make room, or set XDG_CACHE_HOME"
        )


def gpu_told() -> str:
    """The GPUs of this machine, for people."""
    try:
        gpus = gpu_readings()
    except GpuError as error:
        return f"gpu: {error}"
    if not gpus:
        return "gpu: none is seen; the gates that need one will say so"
    return f"gpu: {', '.join(gpu.name for gpu in gpus)}"


def sign_off(arguments: Sequence[str], left_s: float | None) -> int:
    """Run the gates; SIGINT when the time is up, so that the session stops its server and writes its report."""
    # a shell gives what it starts with & an ignored SIGINT, which would be inherited
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen([sys.executable, "-m", "pytest", "--signoff", *arguments], cwd=ROOT)
    finally:
        signal.signal(signal.SIGINT, ours)
    try:
        return process.wait(None if left_s is None else max(1.0, left_s - _END_S))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()
        return _AGAIN
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def take_home(reports: Path, host: str, archive: Path) -> None:
    """Every run of that host, in one file."""
    with tarfile.open(archive, "w:xz") as tar:
        for run in sorted(reports.glob(f"*-{host}-*")):
            tar.add(run, run.name)


def rehearse(given: argparse.Namespace) -> int:
    """All steps, in order. Raises Blocked, ArtefactError, CatalogError, OSError, TimeUp."""
    tell, part = console(), Slice(given.seconds)
    host = load_host(given.host, overlay=given.overlay)
    tell(gpu_told())
    bring(Store(None).sources)
    with part.step("room"):
        check_room(missing_twins(host))
    with part.step("engine"):
        HostEngine(host, load_lanes(), tell, lambda: None).build()
    for twin in missing_twins(host):
        with part.step(twin.twin):
            ensure_twin(twin.twin, twin.variant, progress=lambda what, _done, _total: tell(f"twin: {what}"))
    tell(f"ready: {', '.join(f'{name} {clock(took)}' for name, took in part.took.items())}")
    options = [f"--host={given.host}", f"--reports={given.reports}", *([f"--overlay={given.overlay}"] if given.overlay else [])]
    try:
        return sign_off([*options, *given.pytest], part.left_s)
    finally:
        take_home(given.reports, host.id, given.home)
        tell(f"done: {given.home} holds the reports, after {clock(sum(part.took.values()))} of preparation")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description="The DGX's catalog at true scale on this machine's GPU.")
    parser.add_argument("--seconds", type=float, help="end in time; the next call goes on (default: as long as it takes)")
    parser.add_argument("--host", default=_HOST, help="default: %(default)s")
    parser.add_argument("--overlay", type=Path, help="as pytest's")
    parser.add_argument("--reports", type=Path, default=ROOT / "reports", help="as pytest's")
    parser.add_argument("--home", type=Path, default=Path("rehearsal-reports.tar.xz"), help="what to take home; default: %(default)s")
    parser.add_argument("pytest", nargs="*", help="what follows `--` goes to pytest: -- -k e4b")
    return parser


def main() -> int:
    """Exit status."""
    try:
        return rehearse(_parser().parse_args())
    except TimeUp:
        print("rehearsal: time is up; the same command goes on from here", file=sys.stderr)
        return _AGAIN
    except KeyboardInterrupt:
        print("rehearsal: broken off; the same command goes on from here", file=sys.stderr)
        return 130
    except (Blocked, ArtefactError, CatalogError, OSError) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return _IMPOSSIBLE


if __name__ == "__main__":
    sys.exit(main())
