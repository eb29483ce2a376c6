"""The build cache: finished engines under their key, everything unfinished beside them under `.part`."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

from pydantic import ValidationError

from llama_build.lock import free
from llama_build.types import TARGETS, BuiltEngine, Manifest

MANIFEST = "manifest.json"
_KEPT_S = 7 * 24 * 3600.0  # for which the objects of a build that was broken off wait for it to be asked for again


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/llama-readiness`, or `~/.cache/llama-readiness`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification: a relative path is invalid and must be ignored
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "llama-readiness"


def hashes_of(folder: Path) -> dict[str, str]:
    """sha256 of the engine's programs and of all shared libraries in `folder`; a link counts as what it leads to."""
    known: dict[Path, str] = {}
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and (path.name in TARGETS or ".so" in path.suffixes):
            real = path.resolve()
            if real not in known:
                with real.open("rb") as handle:
                    known[real] = hashlib.file_digest(handle, "sha256").hexdigest()
            found[path.name] = known[real]
    return found


def engine_in(folder: Path, manifest: Manifest) -> BuiltEngine:
    """The engine whose programs lie in `folder`."""
    server, perplexity, bench = (folder / name for name in TARGETS)
    return BuiltEngine(
        folder=folder,
        server=server,
        perplexity=perplexity if perplexity.is_file() else None,
        bench=bench if bench.is_file() else None,
        manifest=manifest,
    )


class Store:
    """One cache folder. `engines` holds an entry per key, `sources` downloads, `logs` the last log per key."""

    def __init__(self, cache: Path | None) -> None:
        root = (cache or default_cache()).absolute()
        self.engines = root / "engines"
        self.sources = root / "sources"
        self._logs = root / "engines" / "logs"

    def folder(self, key: str) -> Path:
        """Where the finished engine is, or will be."""
        return self.engines / key

    def part(self, key: str) -> Path:
        """Where it is built."""
        return self.engines / f"{key}.part"

    def lock(self, key: str) -> Path:
        """Held by who builds it."""
        return self.engines / f"{key}.lock"

    def log(self, key: str) -> Path:
        """Log of a build that runs or failed."""
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._logs / f"{key}.log"

    def load(self, key: str) -> BuiltEngine | None:
        """The finished engine; None where there is none, or where it is not byte for byte what was built."""
        folder = self.folder(key)
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            intact = hashes_of(folder) == manifest.files
        except (OSError, ValidationError):
            return None
        return engine_in(folder, manifest) if intact and manifest.key == key else None

    def clean(self, key: str) -> None:
        """Remove a broken entry of `key`, and what broken-off builds of other keys left a week ago. The lock of `key` must be held."""
        shutil.rmtree(self.folder(key), ignore_errors=True)
        for part in self.engines.glob("*.part"):
            with free(part.with_suffix(".lock")) as nobody:
                if nobody and part != self.part(key) and time.time() - part.stat().st_mtime > _KEPT_S:
                    shutil.rmtree(part, ignore_errors=True)
