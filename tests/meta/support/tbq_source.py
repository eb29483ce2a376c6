"""The pinned source with patch set tbq, unpacked, for tests that compile parts of it."""

import hashlib
import json

from llama_build import EngineRequest
from llama_build.patches import find_patch_set
from llama_build.pinned import load_pin
from llama_build.source import find_source
from llama_build.store import Store

REQUEST = EngineRequest.named("pinned+tbq")


def series(*, cuda=False):
    """Patch set tbq, as a CPU or a CUDA preset applies it."""
    patches = find_patch_set(REQUEST.patch_set, cuda=cuda)
    assert patches is not None
    return patches


def compared_sha256():
    """Of all that decides whether the patched engine computes as the unpatched one does: upstream's files, and the patches."""
    parts = {"source": load_pin().tree_sha256, "patches": series().hashes()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def unpatched(folder):
    """The pinned source in the new folder `folder`, from the cache or the registry."""
    find_source(REQUEST).place(folder, Store(None).sources, lambda _: None)
    return folder


def patched(folder):
    """The same with the series applied as a build applies it."""
    series().apply(unpatched(folder))
    return folder
