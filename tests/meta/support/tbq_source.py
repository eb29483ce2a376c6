"""The pinned source with patch set tbq, unpacked, for tests that compile parts of it."""

from llama_build import EngineRequest
from llama_build.patches import find_patch_set
from llama_build.source import find_source
from llama_build.store import Store

REQUEST = EngineRequest.named("pinned+tbq")


def series():
    """Patch set tbq."""
    patches = find_patch_set(REQUEST.patch_set)
    assert patches is not None
    return patches


def unpatched(folder):
    """The pinned source in the new folder `folder`, from the cache or the registry."""
    find_source(REQUEST).place(folder, Store(None).sources, lambda _: None)
    return folder


def patched(folder):
    """The same with the series applied as a build applies it."""
    series().apply(unpatched(folder))
    return folder
