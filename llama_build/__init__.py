"""Engine recipes: pinned source, CMake presets, patches, build cache. See README.md in this folder."""

from llama_build.builder import build_engine, find_engine
from llama_build.types import BuildError, BuiltEngine, EngineRequest, Manifest

__all__ = ["BuildError", "BuiltEngine", "EngineRequest", "Manifest", "build_engine", "find_engine"]
