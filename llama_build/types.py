"""What is asked for, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

Recipe = Literal["pinned", "source", "path"]
TARGETS = ("llama-server", "llama-perplexity", "llama-bench")


class BuildError(Exception):
    """There is no engine. The message says what is wrong, what was expected and what to do about it."""


@dataclass(frozen=True)
class EngineRequest:
    """Which engine is wanted.

    `path` is the source tree for `source` and the folder with ready binaries for `path`. `options` are CMake options
    (name -> value) that override the preset's. `patch_set` names a folder below `llama_build/patches/`. See also `named`.
    """

    recipe: Recipe
    preset: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    patch_set: str | None = None

    @classmethod
    def named(cls, recipe: str, preset: str = "cpu", options: Mapping[str, str] = MappingProxyType({}), path: Path | None = None) -> Self:
        """The request for a recipe as people write it: `pinned`, `source`, `path`, or with a patch set `pinned+tbq`. Raises BuildError."""
        base, _, patch_set = recipe.partition("+")
        if base not in get_args(Recipe) or (base == "path" and patch_set) or recipe.endswith("+"):
            raise BuildError(
                f"There is no recipe {recipe!r}. Expected pinned, source or path; the first two with a patch set as in pinned+tbq."
            )
        return cls(cast("Recipe", base), preset, options, path, patch_set or None)


class Data(BaseModel):
    """Frozen and closed, like every record of the suite; this package imports nothing of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Compilers(Data):
    """First line of each compiler's `--version`, and the machine the C compiler builds for."""

    c: str
    cxx: str
    cuda: str | None
    target: str


class Manifest(Data):
    """What an engine is made of; `manifest.json` in its folder.

    A `path` engine was built elsewhere: its key, source, options and compiler are unknown and stay empty.
    """

    schema_version: Literal[1] = 1
    recipe: Recipe
    engine_id: str
    key: str = ""
    source: str = ""
    source_sha256: str | None = None
    patch_set: str | None = None
    patches: dict[str, str] = Field(default_factory=dict)  # file name -> sha256
    preset: str | None = None
    options: dict[str, str] = Field(default_factory=dict)  # every CMake option that was given
    compiler: Compilers | None = None
    cpu_features: tuple[str, ...] = ()  # what -march=native added, where GGML_NATIVE is on
    version: str = ""  # what `llama-server --version` printed
    files: dict[str, str]  # binaries and shared libraries, relative to the folder -> sha256
    built: datetime | None = None
    build_s: float | None = None


@dataclass(frozen=True)
class BuiltEngine:
    """An engine that can be run. `folder` holds the binaries; a ready (`path`) engine may lack all but the server."""

    folder: Path
    server: Path
    perplexity: Path | None
    bench: Path | None
    manifest: Manifest
