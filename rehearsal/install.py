"""`python3 -m rehearsal.install`: the environment of an unpacked kit, from its wheels; no network, and nothing but the standard library.

What the kit was packed without is taken from the Python that runs this.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / "kit"
ABOUT = "kit.json"


class InstallError(Exception):
    """The environment cannot be made here: what is wrong, and what to do."""


def install(kit: Path = KIT, environment: Path = ROOT / ".venv") -> None:
    """Make `environment` of the wheels in `kit`. Raises InstallError."""
    about = json.loads((kit / ABOUT).read_text(encoding="utf-8"))
    _check(about)
    if environment.exists():
        if not (environment / "pyvenv.cfg").is_file():
            raise InstallError(f"{environment} is there and is no virtual environment, so it is not cleared: move it away")
        shutil.rmtree(environment)
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    wheels = [str(file) for file in sorted((kit / "wheels").glob("*.whl"))]
    quiet = ("--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-compile")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", *quiet, *wheels],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InstallError(f"pip of {sys.executable} cannot install the kit's wheels (Debian, Ubuntu: python3-pip): {done.stderr.strip()}")
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    for name in about["without"]:
        _link(name, Path(packages.stdout.strip()), environment / "bin")
    (environment / ".installed").touch()


def _check(about: dict[str, Any]) -> None:
    here = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "machine": platform.machine()}
    if other := [f"{name} {about[name]}, not {found}" for name, found in here.items() if about[name] != found]:
        raise InstallError(
            f"this kit is for {' and '.join(other)}: pack one for this machine (make rehearsal-kit FOR={here['python']}-{here['machine']}),"
            " or name another Python (make PYTHON=...)"
        )


def _link(name: str, packages: Path, programs: Path) -> None:
    """The distribution `name` of this Python, linked into the folders `packages` and `programs`."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise InstallError(f"the kit was packed without {name}, and {sys.executable} has none: pack it with it") from None
    files = [PurePosixPath(file) for file in found.files or ()]
    places = {packages / file.parts[0]: file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}
    places |= {programs / file.name: str(file) for file in files if file.parts[0] == ".." and file.parent.name == "bin"}
    for target, file in sorted(places.items()):
        source = Path(str(found.locate_file(file))).resolve()
        if source.exists() and not target.exists():
            target.symlink_to(source)


def main() -> int:
    """Exit status: 0 done, 2 not possible here."""
    try:
        install()
    except (InstallError, OSError) as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
