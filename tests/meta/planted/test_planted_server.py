"""Faults of engine, log, answers and files: signed-off sessions over all of them, on a real server behind a launcher."""

import shutil

import pytest
from support.planted_files import planted_file
from support.planted_table import by_id, faults_of
from support.planting import Host, model

pytestmark = [pytest.mark.runtime, pytest.mark.long]

RUNS = ("server", "drafters")
ROWS = [fault for run in RUNS for fault in faults_of(run)]
CLEAN = [(run, name) for run in RUNS for name in by_id(run) if name not in {fault.id for fault in ROWS}]


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """The session of each run. Scripted twins say one text again and again, so that ngram-mod learns it over several requests."""
    plans = {"server": {}, "drafters": {"requests": 4, "max_tokens": 48}}
    return {run: sign_off(tmp_path_factory.mktemp(run), run, 21000 + 60 * number, **plans[run]) for number, run in enumerate(RUNS)}


def sign_off(folder, run, port, **plan):
    rows, host = faults_of(run), Host(folder, port, by_id(run), **plan)
    other = shutil.copy(model(), folder / "other.gguf")
    host.files = {row.id: planted_file(row.plant["file"], folder) for row in rows if "file" in row.plant}
    return host.with_launcher(rows, fill={"other": other}).write().run("--signoff", status=(1,))


@pytest.mark.parametrize(("run", "candidate"), CLEAN)
def test_without_a_fault_it_is_ready(signed, run, candidate):
    signed[run].assert_clean(candidate)


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(signed, fault):
    signed[fault.run].assert_caught(fault)


def test_the_unit_is_held_against_what_runs(signed):
    (reason,) = [reason for requirement, _, reason in signed["server"].gates("k-is-another-type") if requirement == "DEP-2"]
    assert "the unit has -ctk q8_0, tested was -ctk q4_0" in reason


def test_what_is_private_is_written_nowhere(signed):
    written = "".join(each.written() for each in signed.values())
    assert [words for fault in ROWS for words in fault.never if words in written] == []
