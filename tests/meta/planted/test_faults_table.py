"""The table of planted faults is whole: each row says what it must, is run by one module, and no kind is without some."""

from collections import Counter
from pathlib import Path

from support.planted_table import KINDS, faults

from fixtures.catalog.load import load_requirements
from fixtures.records.verdict import Verdict

FAULTS = faults()
RUNS = {"server", "drafters", "gpu", "units", "guard", "again", "refused", "engines", "attach"}


def test_there_are_at_least_sixty():
    assert len({fault.id for fault in FAULTS}) == len(FAULTS) >= 60


def test_every_kind_has_some():
    kinds = Counter(fault.kind for fault in FAULTS)
    assert set(kinds) == set(KINDS)
    assert [kind for kind, count in kinds.items() if count < 2] == []


def test_every_row_names_a_required_gate_its_verdict_and_words():
    required = {requirement.id for requirement in load_requirements() if requirement.tier == "required"}
    for fault in FAULTS:
        assert fault.says, fault.id
        assert fault.breaks, fault.id
        if fault.caught != "refused":
            assert fault.requirement in required, fault.id
            assert fault.verdict in {Verdict.FAIL, Verdict.INVALID, Verdict.BLOCKED}, fault.id


def test_every_run_has_its_module():
    assert {fault.run for fault in FAULTS} == RUNS
    written = "".join(path.read_text() for path in Path(__file__).parent.glob("test_planted_*.py"))
    assert [run for run in RUNS if f'"{run}"' not in written] == []
