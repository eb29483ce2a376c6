"""The benchmark runner finds every topic, and a missed bound is told and fails. What is fast enough is for `make bench` to say."""

import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from support.places import ROOT

import bench.__main__ as runner
from bench import Bench, milliseconds


def readings(*values):
    """A benchmark that reads these values."""

    @contextmanager
    def prepare():
        left = iter(values)
        yield lambda: next(left)

    return prepare


@pytest.mark.parametrize(("values", "holds"), [((1.0, 2.0, 99.0), True), ((1.0, 51.0, 99.0), False), ((50.0, 50.0, 50.0), False)])
def test_the_median_is_held_against_the_bound(values, holds, capsys):
    assert runner.run(Bench("guard", 50, "ms", readings(*values), repeats=3)) is holds
    told = capsys.readouterr().out
    assert told.startswith("ok     guard: " if holds else "MISSED guard: ")
    assert f"median {sorted(values)[1]:.2f} ms of 3" in told


def test_one_missed_bound_fails_the_run_and_the_others_still_run(monkeypatch, capsys):
    planted = [Bench("slow", 1, "ms", readings(2.0), repeats=1), Bench("fast", 1, "ms", readings(0.5), repeats=1)]
    modules = [SimpleNamespace(__name__="both", BENCHES=planted), SimpleNamespace(__name__="gpu", BENCHES=[], ABSENT="no GPU")]
    monkeypatch.setattr(runner, "modules", lambda: iter(modules))
    monkeypatch.setattr(sys, "argv", ["bench"])
    assert runner.main() == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "none   gpu: no GPU", "what cannot be measured here is told"
    assert [line.split(":")[0] for line in said[1:]] == ["MISSED slow", "ok     fast"]
    monkeypatch.setattr(sys, "argv", ["bench", "fast"])
    assert runner.main() == 0


def test_a_reading_is_in_milliseconds():
    assert 0 <= milliseconds(lambda: None)() < 1000


def test_every_benchmark_is_found_and_named_once():
    names = [one.name for one in runner.found()]
    assert {"savings table of all models", "geometry of a 19 GiB GGUF"} <= set(names)
    assert len(names) == len(set(names))


def test_an_unknown_word_lists_what_there_is():
    done = subprocess.run([sys.executable, "-m", "bench", "nothing"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert "savings table of all models" in done.stderr
