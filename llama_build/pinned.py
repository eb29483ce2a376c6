"""The pinned upstream source: fetched with pip, checked by hash, kept for the next preset."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path, PurePosixPath

from llama_build.lock import held
from llama_build.process import Step, run
from llama_build.progress import Progress, clock
from llama_build.trees import files_of, needed, tree_sha256
from llama_build.types import BuildError, Data

_FILE = Path(__file__).with_name("pinned.toml")
_FETCH_TIMEOUT_S = 1800


class Pin(Data):
    """`pinned.toml`: an sdist by hash, the folder of the llama.cpp tree inside it, and that tree's commit."""

    distribution: str
    version: str
    archive: str
    sha256: str
    size_mb: int
    tree: str
    commit: str
    tree_sha256: str

    @property
    def packed(self) -> str:
        """Name of the archive that holds nothing but what a build reads, a tenth of the sdist."""
        return f"llama.cpp-{self.commit[:12]}.tar"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.distribution} {self.version}"


def load_pin() -> Pin:
    """The shipped pin."""
    return Pin.model_validate(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def fetch(pin: Pin, sources: Path, tell: Progress) -> Path:
    """The archive inside `sources`, downloaded where it is missing or has another hash. Raises BuildError."""
    archive = sources / pin.archive
    with held(sources / f"{pin.archive}.lock", f"the download of {pin.title}", tell, _FETCH_TIMEOUT_S):
        if not (archive.is_file() and _sha256(archive) == pin.sha256):
            _download(pin, sources, tell)
    return archive


def pack(pin: Pin, archive: Path, folder: Path) -> Path:
    """`pin.packed`, made of the sdist `archive`, in `folder`: for a machine without network. Raises BuildError."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        tree = Path(work) / "tree"
        unpack(pin, archive, tree)
        _check_tree(pin, tree, archive)
        with tarfile.open(folder / pin.packed, "w") as tar:
            for relative in files_of(tree):
                tar.add(tree / relative, str(relative), filter=_plain)
    return folder / pin.packed


def unpack_packed(pin: Pin, packed: Path, folder: Path) -> None:
    """Write the tree that `pack` packed into `folder`. Raises BuildError where it is not the pinned one."""
    try:
        _unpack(packed, ".", folder)
    except tarfile.TarError:
        raise BuildError(f"{packed} cannot be unpacked: it is no whole archive. Delete it, and the source is fetched.") from None
    _check_tree(pin, folder, packed)


def _check_tree(pin: Pin, tree: Path, origin: Path) -> None:
    if (found := tree_sha256(tree)) != pin.tree_sha256:
        raise BuildError(f"{origin} holds a source with hash {found}. Expected {pin.tree_sha256}, the pinned one; do not use it.")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same bytes whoever packs it, and when."""
    member.uid = member.gid = 0
    member.mtime = 1
    member.uname = member.gname = ""
    return member


def unpack(pin: Pin, archive: Path, folder: Path) -> None:
    """Write the needed files of the llama.cpp tree into `folder`. Raises BuildError for a path that would leave it."""
    _unpack(archive, pin.tree, folder)


def _unpack(archive: Path, top: str, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile() or not PurePosixPath(member.name).is_relative_to(top):
                continue
            relative = PurePosixPath(member.name).relative_to(top)
            if ".." in relative.parts or relative.is_absolute():
                raise BuildError(
                    f"{archive} holds the unsafe path {member.name}. Expected a plain source archive; delete it and try again."
                )
            content = tar.extractfile(member)
            if content is None or not needed(relative):
                continue
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as handle:
                shutil.copyfileobj(content, handle)
            target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _download(pin: Pin, sources: Path, tell: Progress) -> None:
    part = sources / "download.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        requirement = part / "requirement.txt"
        requirement.write_text(f"{pin.distribution}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
        # the name, not :all: - pip prepares metadata, and its build tools may come as wheels
        selection = ("--no-deps", "--no-binary", pin.distribution, "--require-hashes", "-r", str(requirement))
        quiet = ("--progress-bar", "off", "--no-input", "--disable-pip-version-check")
        argv = (sys.executable, "-m", "pip", "download", *selection, *quiet, "--dest", str(part))
        step = Step("fetch", argv, os.environ, part, sources / "download.log", _FETCH_TIMEOUT_S)
        step.log.unlink(missing_ok=True)
        tell(f"fetch: {pin.title}, {pin.size_mb} MB")
        try:
            run(step, lambda elapsed, _line: tell(f"fetch: {pin.title}, {pin.size_mb} MB, {clock(elapsed)}"))
        except BuildError as error:
            hint = (
                f"Expected pip to deliver {pin.archive} with sha256 {pin.sha256}."
                f" Check the network and pip's index, or put that file into {sources}."
            )
            raise BuildError(f"The pinned source cannot be fetched. {hint} {error}") from None
        fetched = part / pin.archive
        if not fetched.is_file() or (found := _sha256(fetched)) != pin.sha256:
            found = found if fetched.is_file() else "nothing"
            raise BuildError(
                f"pip delivered {found} for {pin.archive}. Expected sha256 {pin.sha256}. {pin.title} may have been replaced; do not use it."
            )
        fetched.replace(sources / pin.archive)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
