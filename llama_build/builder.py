"""Builds an engine once, keeps it, finds it again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llama_build.compile import Workshop
from llama_build.lock import held
from llama_build.patches import PatchSet, find_patch_set
from llama_build.preflight import preflight
from llama_build.presets import Configuration, configuration
from llama_build.progress import Progress, clock, console
from llama_build.ready import ready_engine
from llama_build.source import Source, find_source
from llama_build.store import MANIFEST, Store, engine_in, hashes_of
from llama_build.toolchain import Toolchain, find_toolchain
from llama_build.types import BuildError, BuiltEngine, EngineRequest, Manifest, Recipe

_WAIT_TIMEOUT_S = 4 * 3600
_FORMAT = 1  # of a cache entry; raised when the recipe itself changes


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a build yields."""

    recipe: Recipe
    source: Source
    patch_set: PatchSet | None
    config: Configuration
    toolchain: Toolchain

    @property
    def engine_id(self) -> str:
        """Short commit, plus "+<patch set>" where patched."""
        return self.source.id + (f"+{self.patch_set.name}" if self.patch_set else "")

    @property
    def patches(self) -> dict[str, str]:
        """File name -> sha256."""
        return self.patch_set.hashes() if self.patch_set else {}

    @property
    def key(self) -> str:
        """Name of the cache entry: readable start, hash over everything that decides the result."""
        parts = {
            "format": _FORMAT,
            "source": self.source.sha256,
            "id": self.engine_id,  # compiled in: `--version` prints it
            "patches": self.patches,
            "preset": self.config.preset,
            "options": self.config.options,
            "compiler": self.toolchain.names.model_dump(),
            "cpu": self.toolchain.cpu_features,
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{self.engine_id}-{self.config.preset}-{digest[:16]}"

    def options(self) -> dict[str, str]:
        """What CMake is given."""
        stamp = {"LLAMA_BUILD_COMMIT": self.engine_id, "LLAMA_BUILD_NUMBER": str(self.source.build_number)}
        return stamp | self.toolchain.options() | self.config.options


def find_engine(request: EngineRequest, cache: Path | None = None) -> BuiltEngine | None:
    """The engine if it is there; None where it is not built. Builds and downloads nothing.

    `cache` is the cache's root, `~/.cache/llama-readiness` where None. Raises BuildError where the request itself is wrong.
    """
    with _files_told():
        return ready_engine(request) if request.recipe == "path" else Store(cache).load(_plan(request).key)


def build_engine(request: EngineRequest, *, cache: Path | None = None, progress: Progress | None = None) -> BuiltEngine:
    """The engine, built first where the cache has none. Two processes that ask at once build once.

    `progress` gets about one line a second, `stage: text`; None shows them on stderr. Raises BuildError.
    """
    with _files_told():
        if request.recipe == "path":
            return ready_engine(request)
        plan = _plan(request)
        store = Store(cache)
        if engine := store.load(plan.key):
            return engine
        tell = progress or console()
        with held(store.lock(plan.key), f"engine {plan.engine_id} ({plan.config.preset})", tell, _WAIT_TIMEOUT_S):
            return store.load(plan.key) or _build(plan, store, tell)


@contextmanager
def _files_told() -> Iterator[None]:
    """Turn what the file system refuses into a BuildError."""
    try:
        yield
    except OSError as error:
        need = "a source that this user may read, and a cache folder to write to with room for the build"
        raise BuildError(f"{error.filename or 'A file'}: {error.strerror or error}. Expected {need}.") from None


def _plan(request: EngineRequest) -> Plan:
    if request.recipe not in ("pinned", "source"):
        raise BuildError(f"There is no recipe {request.recipe!r}. Expected pinned, source or path.")
    config = configuration(request.preset, request.options)
    patches = find_patch_set(request.patch_set, cuda=config.cuda)
    return Plan(request.recipe, find_source(request), patches, config, find_toolchain(config))


def _build(plan: Plan, store: Store, tell: Progress) -> BuiltEngine:
    """Build, or go on with a build that was broken off. What is compiled is kept until an engine came of it."""
    started = time.monotonic()
    store.clean(plan.key)
    log, folder = store.log(plan.key), store.folder(plan.key)
    log.unlink(missing_ok=True)
    shop = Workshop(store.part(plan.key), plan.options(), plan.config.asked, log, tell)
    done = False
    try:
        _set_up(shop, plan, store)
        shop.configure()
        shop.compile()
        version = shop.collect()
        took = time.monotonic() - started
        manifest = _manifest(plan, version, hashes_of(shop.engine), took)
        (shop.engine / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        log.rename(shop.engine / "build.log")
        shop.engine.rename(folder)
        done = True
    except BuildError:
        kept = f"; what was compiled is kept in {shop.root}" if shop.begun else ""
        tell(f"failed: after {clock(time.monotonic() - started)}{kept}")
        raise
    finally:
        if done or not shop.begun:
            shutil.rmtree(shop.root, ignore_errors=True)
    tell(f"done: engine {plan.engine_id} ({plan.config.preset}) built in {clock(took)}")
    return engine_in(folder, manifest)


def _set_up(shop: Workshop, plan: Plan, store: Store) -> None:
    """The source in its place, unless a build that was broken off left it there; and all that can be checked before compiling."""
    if shop.begun:
        shop.tell(f"resume: {shop.root} holds what was compiled before")
    else:
        shutil.rmtree(shop.root, ignore_errors=True)
        shop.root.mkdir(parents=True)
    preflight(plan.config, plan.options(), shop.root, shop.log, shop.tell)
    if shop.begun:
        return
    plan.source.place(shop.source, store.sources, shop.tell)
    if plan.patch_set:
        shop.tell(f"patch: {plan.patch_set.name}, {len(plan.patch_set.files)} files")
        plan.patch_set.apply(shop.source)
    shop.begin()


def _manifest(plan: Plan, version: str, files: dict[str, str], took_s: float) -> Manifest:
    return Manifest(
        recipe=plan.recipe,
        engine_id=plan.engine_id,
        key=plan.key,
        source=plan.source.title,
        source_sha256=plan.source.sha256,
        patch_set=plan.patch_set.name if plan.patch_set else None,
        patches=plan.patches,
        preset=plan.config.preset,
        options=plan.options(),
        compiler=plan.toolchain.names,
        cpu_features=plan.toolchain.cpu_features,
        version=version,
        files=files,
        built=datetime.now(UTC),
        build_s=round(took_s, 1),
    )
