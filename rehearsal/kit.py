"""`python -m rehearsal.kit`: all that a rehearsal needs on a machine without network, in one file of less than 60 MB.

Suite (as committed), engine source, and the wheels of the suite's dependencies for the Python there, each checked against
requirements.lock. Wheels are packed again without compression, so that one compressor sees all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import lzma
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from llama_build.pinned import fetch, load_pin, pack
from llama_build.progress import Progress, console
from llama_build.store import Store
from llama_build.types import BuildError
from rehearsal.install import ABOUT, ROOT

MOST_BYTES = 60_000_000
_TOP = "llama-readiness"  # the folder that the kit unpacks to
_DICTIONARY = 128 << 20  # both OpenBLAS, and CMake's three programs, are alike
_PINNED = re.compile(r"^([a-z0-9-]+==\S+(?: ; [^\\]+)?) ?\\?$", re.MULTILINE)
_GLIBC = (39, 35, 34, 31, 28, 27, 24, 17)  # manylinux tags, newest first; pip wants each by name


class KitError(Exception):
    """The kit cannot be packed: what is wrong, and what to do."""


def wheels(folder: Path, python: str, machine: str, without: Sequence[str], lock: str) -> list[Path]:
    """The wheels of the suite's dependencies for that Python, in the versions of `lock` and with its hashes. Raises KitError."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(_versions(lock, python, machine)) + "\n", encoding="utf-8")
    tags = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}", f"manylinux1_{machine}"]
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder)]
    argv += ["--python-version", python, "--implementation", "cp", "--constraint", str(constraints)]
    argv += [word for tag in tags for word in ("--platform", tag)]
    done = subprocess.run([*argv, *dependencies], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KitError(f"pip cannot fetch the wheels for Python {python} on {machine}: {done.stderr.strip()}")
    found = sorted(folder.glob("*.whl"))
    if strange := [file.name for file in found if hashlib.sha256(file.read_bytes()).hexdigest() not in lock]:
        raise KitError(f"requirements.lock has no hash of {', '.join(strange)}: pip delivered something else than what was locked")
    return [file for file in found if _name(file) not in without]


def _versions(lock: str, python: str, machine: str) -> Iterator[str]:
    """`name==version` of all that is locked for that Python; pip would ask its own which ones those are."""
    there = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine, "sys_platform": "linux"}
    for line in _PINNED.findall(lock):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(there):
            yield f"{requirement.name}{requirement.specifier}"


def stored(wheel: Path) -> bytes:
    """The same wheel, uncompressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            plain = zipfile.ZipInfo(member.filename, (1980, 1, 1, 0, 0, 0))
            plain.external_attr = member.external_attr
            new.writestr(plain, old.read(member))
    return out.getvalue()


def write_kit(file: Path, parts: Iterable[tuple[str, bytes]], suite: bytes, machine: str) -> None:
    """One compressed archive: the files of `suite` (a tar), then `parts`, each at its place below the top folder."""
    filters: list[dict[str, int]] = [{"id": lzma.FILTER_X86}] if machine == "x86_64" else []
    filters.append({"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": _DICTIONARY})
    with lzma.open(file, "wb", filters=filters) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        with tarfile.open(fileobj=io.BytesIO(suite)) as source:
            for member in source:
                tar.addfile(member, source.extractfile(member) if member.isfile() else None)
        for name, content in parts:
            member = tarfile.TarInfo(f"{_TOP}/kit/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def make_kit(file: Path, python: str, machine: str, without: Sequence[str], tell: Progress) -> None:
    """Pack the kit as `file`. Raises KitError, BuildError, OSError."""
    commit = _git("rev-parse", "HEAD").decode().strip()
    if changed := _git("status", "--porcelain").decode().strip():
        raise KitError(f"the kit holds the suite as committed, and something is not: {changed.splitlines()[0].strip()}")
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    if unknown := sorted(name for name in without if f"\n{name}==" not in f"\n{lock}"):
        raise KitError(f"nothing of that name is packed: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as name:
        work, pin, sources = Path(name), load_pin(), Store(None).sources
        tell(f"kit: wheels for Python {python} on {machine}")
        found = wheels(work, python, machine, without, lock)
        source = pack(pin, fetch(pin, sources, tell), work)
        about = {"commit": commit, "python": python, "machine": machine, "without": list(without)}
        parts = [(ABOUT, json.dumps(about, indent=1).encode()), (source.name, source.read_bytes())]
        parts += [(f"wheels/{wheel.name}", stored(wheel)) for wheel in found]
        tell(f"kit: compressing {sum(len(content) for _, content in parts) / 1e6:.0f} MB")
        write_kit(file, parts, _git("archive", f"--prefix={_TOP}/", "HEAD"), machine)
    size = file.stat().st_size
    tell(f"done: {file}, {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        largest = sorted(parts, key=lambda part: -len(part[1]))[:3]
        told = ", ".join(part for part, _ in largest)
        raise KitError(f"{file} has {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}; largest: {told}. Leave out what the machine has")


def _name(wheel: Path) -> str:
    return wheel.name.partition("-")[0].replace("_", "-").lower()


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout


def main() -> int:
    """Exit status: 0 packed, 2 not possible."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}-{platform.machine()}"
    parser = argparse.ArgumentParser(prog="python -m rehearsal.kit", description="Pack all that a rehearsal needs elsewhere.")
    parser.add_argument("--to", type=Path, default=Path("rehearsal-kit.tar.xz"), help="default: %(default)s")
    parser.add_argument("--for", dest="target", default=here, metavar="PYTHON-MACHINE", help="as in 3.12-x86_64; default: %(default)s")
    parser.add_argument("--without", default="", metavar="NAMES", help="packages that the Python there has, by comma: numpy,scipy,cmake")
    given = parser.parse_args()
    python, _, machine = given.target.partition("-")
    without = tuple(name.strip().lower() for name in given.without.split(",") if name.strip())
    try:
        make_kit(given.to, python, machine, without, console())
    except (KitError, BuildError, OSError, subprocess.CalledProcessError) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
