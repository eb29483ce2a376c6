"""`python -m llama_build`: build an engine, or say where it is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from llama_build.builder import build_engine, find_engine
from llama_build.presets import load_presets
from llama_build.types import BuildError, EngineRequest

DEFAULT_RECIPE = "pinned+tbq"  # the local host's: `make engine` builds what `make signoff` needs


def main(argv: Sequence[str] | None = None) -> int:
    """Print the engine's folder; 1 where there is none."""
    args = _parser().parse_args(argv)
    try:
        request = EngineRequest.named(args.recipe, args.preset, _options(args.option), args.path)
        engine = build_engine(request) if args.command == "build" else find_engine(request)
    except BuildError as error:
        print(f"llama_build: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("llama_build: interrupted; the same command goes on from what was compiled", file=sys.stderr)
        return 130
    if engine is None:
        print("llama_build: this engine is not built. Build it with the same arguments and `build`.", file=sys.stderr)
        return 1
    print(engine.folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    presets = load_presets().presets
    parser = argparse.ArgumentParser(prog="python -m llama_build", description="Builds a llama.cpp engine once and prints its folder.")
    parser.add_argument("command", nargs="?", choices=("build", "where"), default="build", help="`where` builds nothing (default: build)")
    parser.add_argument(
        "--recipe",
        default=DEFAULT_RECIPE,
        help="pinned: the shipped upstream source; source: a tree of your own; path: a folder with ready binaries; the first two may"
        f" carry a patch set, a folder below llama_build/patches/, as in pinned+tbq (default: {DEFAULT_RECIPE})",
    )
    titles = "; ".join(f"{name}: {preset.title}" for name, preset in presets.items())
    parser.add_argument("--preset", choices=tuple(presets), default="cpu", help=f"{titles} (default: cpu)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a CMake option; may be repeated")
    parser.add_argument("--path", type=Path, help="the source tree, or the folder with ready binaries")
    return parser


def _options(given: Sequence[str]) -> dict[str, str]:
    options = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise BuildError(f"Option {item!r} has no value. Expected NAME=VALUE, as in GGML_CUDA_FA_ALL_QUANTS=ON.")
        options[name] = value
    return options


if __name__ == "__main__":
    sys.exit(main())
