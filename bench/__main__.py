"""Runs every benchmark, or those whose name holds a word; exit status 1 when a bound is missed."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import statistics
import sys
from collections.abc import Iterator
from types import ModuleType

import bench
from bench import Bench


def modules() -> Iterator[ModuleType]:
    """All modules `bench_*`, in the order of their names."""
    for module in sorted(pkgutil.iter_modules(bench.__path__), key=lambda module: module.name):
        if module.name.startswith("bench_"):
            yield importlib.import_module(f"bench.{module.name}")


def found() -> Iterator[Bench]:
    """The benchmarks of all modules."""
    for module in modules():
        yield from module.BENCHES


def run(one: Bench) -> bool:
    """Take the readings and print them against the bound; whether it holds."""
    with one.prepare() as read:
        readings = sorted(read() for _ in range(one.repeats))
    median = statistics.median(readings)
    holds = median < one.bound
    word = "ok    " if holds else "MISSED"
    spread = f"{readings[0]:.2f} to {readings[-1]:.2f}"
    ratio = f"{100 * median / one.bound:.1f} % of the bound"
    print(
        f"{word} {one.name}: median {median:.2f} {one.unit} of {one.repeats} ({spread}), must be below {one.bound:g}: {ratio}", flush=True
    )
    return holds


def main() -> int:
    """0 when every bound holds, 1 when one is missed, 2 when no benchmark has the word in its name."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only benchmarks whose name holds this word")
    word = parser.parse_args().word
    chosen = [one for one in found() if word in one.name]
    if not chosen:
        print(f"no benchmark has {word!r} in its name; there are: {', '.join(one.name for one in found())}", file=sys.stderr)
        return 2
    for module in modules():
        if not module.BENCHES:
            print(f"none   {module.__name__}: {module.ABSENT}", flush=True)
    held = [run(one) for one in chosen]  # all of them, also after a missed one
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
