"""Source trees: which files count, their hash, a copy, and the commit they come from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# top-level folders of llama.cpp that no build of the engine reads; they make up two thirds of its size
NEEDLESS = frozenset(
    {".devops", ".gemini", ".github", ".pi", "benches", "ci", "conversion", "docs", "gguf-py", "media", "models", "pocs", "skills"}
)
_NEVER = frozenset({".git", "__pycache__", "node_modules"})
_GIT_TIMEOUT_S = 60


def needed(relative: PurePosixPath) -> bool:
    """Whether a file at `relative` inside a llama.cpp tree is part of the engine's source."""
    return relative.parts[0] not in NEEDLESS and _NEVER.isdisjoint(relative.parts) and relative.suffix != ".gguf"


def files_of(tree: Path) -> Iterator[PurePosixPath]:
    """The needed files of `tree`, sorted; build folders (with a CMakeCache.txt) are left out."""
    for folder, names, files in os.walk(tree):
        relative = PurePosixPath(Path(folder).relative_to(tree))
        links = [name for name in names if Path(folder, name).is_symlink()]
        names[:] = sorted(
            name for name in set(names).difference(links) if needed(relative / name) and not Path(folder, name, "CMakeCache.txt").exists()
        )
        yield from (relative / name for name in sorted([*files, *links]) if needed(relative / name))


def tree_sha256(tree: Path) -> str:
    """Hash over names, executable bits and contents of the needed files."""
    digest = hashlib.sha256()
    for relative in files_of(tree):
        path = tree / relative
        if path.is_symlink():
            line = f"{relative}\0link\0{path.readlink()}\n"
        else:
            with path.open("rb") as handle:
                line = f"{relative}\0{os.access(path, os.X_OK)}\0{hashlib.file_digest(handle, 'sha256').hexdigest()}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def copy_tree(tree: Path, folder: Path) -> None:
    """Copy the needed files into the new folder `folder`."""
    for relative in files_of(tree):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / relative, target, follow_symlinks=False)


def commit_of(tree: Path) -> tuple[str, bool, int] | None:
    """(commit in 12 digits, whether files differ from it, number of commits) where `tree` is the top of a git checkout."""
    top = _git(tree, "rev-parse", "--show-toplevel")
    commit = _git(tree, "rev-parse", "--short=12", "HEAD")
    changes = _git(tree, "status", "--porcelain")
    count = _git(tree, "rev-list", "--count", "HEAD")
    if top is None or commit is None or changes is None or count is None or not Path(top).samefile(tree):
        return None
    return commit, bool(changes), int(count)


def _git(tree: Path, *args: str) -> str | None:
    """What git says, None where it is not installed or refuses."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(tree), *args], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
