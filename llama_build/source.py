"""Where an engine's source comes from, behind one face: identity first, files when a build needs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llama_build.pinned import Pin, fetch, load_pin, unpack, unpack_packed
from llama_build.progress import Progress
from llama_build.trees import commit_of, copy_tree, tree_sha256
from llama_build.types import BuildError, EngineRequest


class Source(Protocol):
    """A llama.cpp tree. `build_number` counts its commits, 0 where that is unknown."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def id(self) -> str:
        """Short commit, or what stands for one."""

    @property
    def sha256(self) -> str:
        """Identity of the content."""

    @property
    def build_number(self) -> int:
        """As llama.cpp prints it."""

    def place(self, folder: Path, sources: Path, tell: Progress) -> None:
        """Write the tree into the new folder `folder`; `sources` keeps downloads. Raises BuildError."""


@dataclass(frozen=True)
class PinnedSource:
    """The shipped pin."""

    pin: Pin
    build_number: int = 0

    @property
    def title(self) -> str:
        """Name and version of the distribution."""
        return self.pin.title

    @property
    def id(self) -> str:
        """The upstream commit in 12 digits."""
        return self.pin.commit[:12]

    @property
    def sha256(self) -> str:
        """The archive's."""
        return self.pin.sha256

    def place(self, folder: Path, sources: Path, tell: Progress) -> None:
        """Unpack what was brought along, else fetch and unpack."""
        packed = sources / self.pin.packed
        if packed.is_file():
            tell(f"unpack: {packed.name}")
            unpack_packed(self.pin, packed, folder)
            return
        archive = fetch(self.pin, sources, tell)
        tell(f"unpack: {archive.name}")
        unpack(self.pin, archive, folder)


@dataclass(frozen=True)
class TreeSource:
    """A tree of the user's own. It is copied, so that an edit during the build cannot slip in under the old hash."""

    tree: Path
    id: str
    sha256: str
    build_number: int

    @property
    def title(self) -> str:
        """Its path."""
        return str(self.tree)

    def place(self, folder: Path, sources: Path, tell: Progress) -> None:  # noqa: ARG002 - nothing is downloaded
        """Copy the tree and prove that the copy is what was asked for."""
        tell(f"unpack: copy of {self.tree}")
        copy_tree(self.tree, folder)
        if tree_sha256(folder) != self.sha256:
            raise BuildError(
                f"{self.tree} changed while it was copied. Expected a source tree at rest; try again when nothing writes to it."
            )


def find_source(request: EngineRequest) -> Source:
    """The source of a `pinned` or `source` request. Raises BuildError where `path` does not fit the recipe."""
    if request.recipe == "pinned":
        if request.path is not None:
            raise BuildError(f"Recipe `pinned` takes no path, but {request.path} was given. Use recipe `source` for a tree of your own.")
        return PinnedSource(load_pin())
    if request.path is None:
        raise BuildError("Recipe `source` needs a path. Give the folder of a llama.cpp tree (the one with its CMakeLists.txt).")
    tree = request.path.expanduser().absolute()
    if not (tree / "CMakeLists.txt").is_file():
        raise BuildError(f"{tree} is no source tree: it has no CMakeLists.txt. Give the top folder of a llama.cpp tree.")
    sha256 = tree_sha256(tree)
    match commit_of(tree):
        case None:
            return TreeSource(tree, f"tree-{sha256[:12]}", sha256, 0)
        case commit, changed, count:
            return TreeSource(tree, f"{commit}-{sha256[:8]}" if changed else commit, sha256, count)
