"""The seed of drawn prompts: one a run, shown, recorded, and drawn again on demand."""

import argparse
import json
import re
import subprocess
import sys

import pytest
from support.places import ROOT

from fixtures.plugins.option_table import prompt_seed


@pytest.mark.parametrize(("text", "seed"), [("0", 0), ("7", 7), ("4294967295", 4294967295)])
def test_a_seed_is_a_whole_number_of_32_bits(text, seed):
    assert prompt_seed(text) == seed


@pytest.mark.parametrize("text", ["-1", "4294967296", "1.5", "", "x", "7 ", "1" * 5000, "٧"])
def test_anything_else_is_refused_in_one_sentence(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no prompt seed: expected a whole number, 0 to 4294967295"):
        prompt_seed(text)


@pytest.mark.runtime
def test_each_run_draws_its_own_and_a_given_one_is_taken(tmp_path):
    """A re-check shows the recorded one, and judges the same."""
    drawn = run("--host=local", f"--reports={tmp_path / 'drawn'}")
    given = run("--host=local", f"--reports={tmp_path / 'given'}", "--prompt-seed=7")
    (first,), (second,) = ((tmp_path / name).iterdir() for name in ("drawn", "given"))
    seeds = [json.loads((folder / "run.json").read_text())["prompt_seed"] for folder in (first, second)]
    assert seeds == [int(re.search(r"prompts drawn from seed (\d+)", drawn)[1]), 7]
    assert seeds[0] != 7
    assert "prompts drawn from seed 7" in given
    again = run(f"--recheck={second}", f"--reports={tmp_path / 'again'}")
    assert "prompts drawn from seed 7" in again
    assert "comes out byte for byte" in again


def run(*args):
    """A static run of one family: what it prints."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "tests/test_deploy.py",
        "-m",
        "not runtime",
        "-k",
        "smollm2",
        *args,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode in (0, 75), done.stdout + done.stderr
    return done.stdout
