"""Recipe `path`: binaries that were built elsewhere."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from llama_build.store import engine_in, hashes_of
from llama_build.types import TARGETS, BuildError, BuiltEngine, EngineRequest, Manifest

_SERVER = TARGETS[0]
_LIBRARY_FOLDERS = ("../lib", "../lib64")
_LIBRARIES = ("libllama", "libggml", "libmtmd")


def ready_engine(request: EngineRequest) -> BuiltEngine:
    """The engine in the folder `request.path`; its id is a hash over programs and libraries there. Raises BuildError.

    Nothing is run: forks may need an environment (LD_LIBRARY_PATH) that only the host file knows.
    """
    if request.path is None:
        raise BuildError(f"Recipe `path` needs a path. Give the folder that holds {_SERVER}.")
    if request.options or request.patch_set:
        raise BuildError("Recipe `path` takes ready binaries, so options and patches cannot apply. Use recipe `source`, or leave them out.")
    folder = request.path.expanduser().absolute()
    _check(folder)
    files = hashes_of(folder)
    for beside in _LIBRARY_FOLDERS:  # as `cmake --install` lays them out
        if (folder / beside).is_dir():
            files |= {f"{beside}/{name}": sha for name, sha in hashes_of(folder / beside).items() if name.startswith(_LIBRARIES)}
    digest = hashlib.sha256("".join(f"{name}\0{sha256}\n" for name, sha256 in files.items()).encode()).hexdigest()
    return engine_in(folder, Manifest(recipe="path", engine_id=f"path-{digest[:12]}", source=str(folder), files=files))


def _check(folder: Path) -> None:
    server = folder / _SERVER
    if folder.is_file():
        raise BuildError(f"{folder} is a file. Expected the folder that holds {_SERVER}: did you mean {folder.parent}?")
    if not folder.is_dir():
        raise BuildError(f"{folder} does not exist, or this user may not see it. Expected the folder that holds {_SERVER}.")
    if not server.is_file():
        below = folder / "bin" / _SERVER
        hint = f"Did you mean {below.parent}?" if below.is_file() else "Give the folder with the binaries (often build/bin)."
        broken = f" ({server} is a link to {server.readlink()}, which is not there)" if server.is_symlink() else ""
        raise BuildError(f"{folder} holds no {_SERVER}{broken}. {hint}")
    for name in TARGETS:
        program = folder / name
        if program.exists() and not (program.is_file() and os.access(program, os.X_OK)):
            raise BuildError(f"{program} is no program that this user may run. Expected an executable file; try chmod +x {program}.")
