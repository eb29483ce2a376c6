"""Patch sets: folders of numbered `*.patch` files below `llama_build/patches/`; those in a set's `cuda/` go on where CUDA is built."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from llama_build.toolchain import build_environment
from llama_build.types import BuildError

PATCHES = Path(__file__).with_name("patches")
_TIMEOUT_S = 60


@dataclass(frozen=True)
class PatchSet:
    """Patches in the order in which they apply."""

    name: str
    files: tuple[Path, ...]

    def hashes(self) -> dict[str, str]:
        """File name -> sha256."""
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in self.files}

    def apply(self, tree: Path) -> None:
        """Apply all patches to `tree`, exactly. Raises BuildError naming the first that does not fit."""
        for file in self.files:
            try:
                # the ceiling keeps git from taking a checkout around the cache for the tree's own
                done = subprocess.run(
                    ["git", "apply", "--whitespace=nowarn", str(file.resolve())],
                    cwd=tree,
                    env=build_environment() | {"GIT_CEILING_DIRECTORIES": str(tree.parent)},
                    capture_output=True,
                    text=True,
                    timeout=_TIMEOUT_S,
                    check=False,
                )
            except FileNotFoundError:
                raise BuildError(f"Patch set {self.name!r} cannot be applied: git is not on PATH. Install git.") from None
            if done.returncode != 0:
                raise BuildError(
                    f"Patch {self.name}/{file.name} does not fit this source: {done.stderr.strip()}. Use the source it was made for."
                )


def find_patch_set(name: str | None, *, cuda: bool) -> PatchSet | None:
    """The patch set of that name, None for None. With `cuda` its patches for CUDA follow. Raises BuildError where there is none."""
    if name is None:
        return None
    known = sorted(folder.name for folder in PATCHES.iterdir() if any(folder.glob("*.patch"))) if PATCHES.is_dir() else []
    if name not in known:
        raise BuildError(f"There is no patch set {name!r}. Expected one of: {', '.join(known) or '(none is shipped)'}; see {PATCHES}.")
    folders = [PATCHES / name, *([PATCHES / name / "cuda"] if cuda else [])]
    return PatchSet(name, tuple(file for folder in folders for file in sorted(folder.glob("*.patch"))))
