"""Installed units that differ and such that do not, waivers and references: one signed-off session on the real engine."""

from datetime import UTC, datetime, timedelta

import pytest
from support.planted_table import by_id, faults_of, honest
from support.planted_units import Installer, reference
from support.planting import Host

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS, HONEST = faults_of("units"), honest()
CLEAN = [name for name in by_id("units") if name not in {fault.id for fault in ROWS}]
WAIVER = """\
schema = 1
[[waiver]]
requirement = "{requirement}"
candidate = "{candidate}"
reason = "it failed once in the spring"
who = "Ann"
date = "{now:%Y-%m-%d}"
expires = "{later:%Y-%m-%dT%H:%MZ}"
"""


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    plants = {fault.id: fault.plant for fault in ROWS} | {name: row["plant"] for name, row in HONEST.items()}
    host = Host(folder, 21120, by_id("units") | {name: {} for name in HONEST}, installed=True)
    host.names = {name: row["unit"] for name, row in HONEST.items() if "unit" in row}
    host.names |= {name: plant["unit"] for name, plant in plants.items() if "unit" in plant}
    host.references = {name: reference(plants.get(name, {})) for name, given in host.candidates.items() if "ppl" in given}
    installer = Installer(host.write())
    for candidate in host.candidates:
        installer.install(candidate, plants.get(candidate))
    now = datetime.now(UTC)
    (waived,) = [fault for fault in ROWS if "waiver" in fault.plant]
    waivers = folder / "waivers.toml"
    waivers.write_text(WAIVER.format(requirement=waived.plant["waiver"], candidate=waived.id, now=now, later=now + timedelta(days=7)))
    return host.run("--signoff", f"--waivers={waivers}", status=(1,))


@pytest.mark.parametrize("candidate", CLEAN)
def test_without_a_fault_it_is_ready(signed, candidate):
    signed.assert_clean(candidate)


@pytest.mark.parametrize("candidate", HONEST)
def test_an_honest_spelling_is_ready(signed, candidate):
    signed.assert_clean(candidate)


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(signed, fault):
    signed.assert_caught(fault)


def test_what_is_private_is_written_nowhere(signed):
    written = signed.written()
    assert [words for fault in ROWS for words in fault.never if words in written] == []


def test_fifteen_ways_and_six_spellings():
    differing = [fault for fault in ROWS if fault.requirement == "DEP-6" and fault.verdict == "FAIL"]
    assert len(differing) >= 15
    assert len(HONEST) >= 6
