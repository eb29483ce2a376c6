"""Readings of others: imported with source, date, signer and hashes, counted while those hold, and never passed off as measured."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import child_session
from support.signed_entries import READING

from fixtures.catalog.attested import load_attested
from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import load_host, load_requirements

AS_OF = datetime(2026, 11, 24, tzinfo=UTC)


def write(folder, *readings):
    file = folder / "attested.toml"
    tables = ("[[attested]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in reading.items()) for reading in readings)
    file.write_text("schema = 1\n" + "".join(tables))
    return file


def load(file):
    return load_attested(file, load_host("dgx", bare=True), load_requirements(), AS_OF)


def test_the_reports_accepted_perplexities_can_be_stated(tmp_path):
    accepted = {"31b-k3v3": 30.2595, "26b-k3v4": 25.7098, "26b-k3v3": 38.2839, "e4b-k3v3": 24.6580, "e4b-k3v4": 25.8709}
    readings = load(write(tmp_path, *(READING | {"candidate": name, "value": value} for name, value in accepted.items())))
    assert {reading.candidate: reading.value for reading in readings} == accepted


def test_the_reports_soak_can_be_stated(tmp_path):
    soak = READING | {"requirement": "STA-3", "value": 299, "unit": "requests"}
    assert [reading.value for reading in load(write(tmp_path, soak))] == [299]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"requirement": "STA-3"}, '`attested[0].unit` is "PPL"; expected "requests"'),
        ({"requirement": "TPS-1"}, '"TPS-1" cannot be attested: it has to be measured'),
        ({"candidate": "31b-k3v5"}, '"31b-k3v5" is no gated candidate of host dgx'),
        ({"candidate": "31b-k3v4"}, "PPL-1 does not apply to 31b-k3v4"),
        ({"date": "2027-01-01"}, "lies in the future"),
        ({"date": "2026-02-30"}, "is no day of the calendar"),
        ({"who": ""}, "who"),
        ({"source": "somewhere"}, "source"),
        ({"artefacts": "b179"}, "artefacts"),
        ({"signer": "me"}, "signer"),
    ],
)
def test_a_reading_that_cannot_count_is_one_message(tmp_path, change, said):
    with pytest.raises(CatalogError) as caught:
        load(write(tmp_path, READING | change))
    assert said in str(caught.value)
    assert "attested.toml" in str(caught.value)


def test_two_readings_of_one_gate_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="keep one"):
        load(write(tmp_path, READING, READING))


# -- with a real engine and a real model


def session(host, reports, *args):
    started = child_session.start(host, reports, *args)
    started.status = started.wait()
    assert "Traceback" not in started.output, started.output
    return started


def newest(reports):
    return max(path for path in reports.iterdir() if path.is_dir() and not path.name.endswith("-recheck"))


def gate_of(folder):
    verdict = json.loads((folder / "verdict.json").read_text())
    (gate,) = [g for c in verdict["candidates"] if c["candidate"] == "other-q8" for g in c["gates"] if g["requirement"] == "PPL-1"]
    return verdict["coverage"], gate


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A host that does not know its corpus, and a reports folder into which a perplexity of `other-q8` was imported."""
    folder = tmp_path_factory.mktemp("attested")
    host = child_session.write_host(folder, port=18830, other=child_session.own_copy(folder))
    text = host.read_text().replace('PPL-1 = "not part of this test"\n', "")
    limit = 'ppl = { reference = 25.1373, kind = "equal", tolerance = 0.1, relative = true, unit = "PPL", source = "meta test" }\n'
    host.write_text(text.replace("[candidates.limits]\n", "[candidates.limits]\n" + limit))
    reports = folder / "reports"
    reading = READING | {"candidate": "other-q8", "value": 25.1373}
    refused = session(host, reports, f"--import={write(folder, reading)}")
    assert refused.status == 4
    assert "engine is not stated" in refused.output
    assert not list(reports.iterdir()), "a refused import left something behind"
    stated = [line.strip() for line in refused.output.splitlines() if line.startswith(("  engine = ", "  artefacts."))]
    file = write(folder, reading)
    file.write_text(file.read_text() + "\n".join(stated))
    done = session(host, reports, f"--import={file}")
    assert done.status == 0, done.output
    return host, reports, file


@pytest.mark.runtime
def test_an_attested_reading_satisfies_its_gate_and_says_so(imported):
    host, reports, _ = imported
    judged = session(host, reports, "-m", "ppl", "-k", "other")
    assert judged.status == 0, judged.output
    folder = newest(reports)
    coverage, gate = gate_of(folder)
    assert (gate["judgement"]["verdict"], coverage["attested"], coverage["reused"]) == ("PASS", 1, 0)
    assert "attested by owner, reading of 2026-05-14" in gate["judgement"]["reason"]
    assert not (folder / "launches.jsonl").exists()
    page = (folder / "index.html").read_text()
    assert "attested, not measured: 1" in page
    assert "not measured by this suite" in page
    again = session(host, reports, f"--recheck={folder}")
    assert again.status == 0, again.output


@pytest.mark.runtime
def test_another_model_file_ends_the_attestation(imported, tmp_path):
    host, reports, _ = imported
    text = host.read_text()
    path = text[text.index('kind = "file", path = "') :].split('"')[3]
    changed = tmp_path / "other.gguf"
    data = bytearray(Path(path).read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    other = tmp_path / host.name
    other.write_text(text.replace(path, str(changed)))
    judged = session(other, reports, "-m", "ppl", "-k", "other")
    assert judged.status == 75, judged.output
    coverage, gate = gate_of(newest(reports))
    assert (gate["judgement"]["verdict"], coverage["attested"]) == ("BLOCKED", 0)
    assert "ppl.corpus" in gate["judgement"]["reason"]


@pytest.mark.runtime
def test_fresh_does_not_take_it(imported):
    host, reports, _ = imported
    judged = session(host, reports, "-m", "ppl", "-k", "other", "--fresh")
    assert judged.status == 75, judged.output


@pytest.mark.runtime
def test_a_reading_of_other_files_is_refused(imported, tmp_path):
    host, reports, file = imported
    before = sorted(reports.iterdir())
    wrong = tmp_path / "attested.toml"
    wrong.write_text(file.read_text().replace('artefacts.target = "', 'artefacts.target = "' + "0" * 8, 1)[:-9] + '"')
    refused = session(host, reports, f"--import={wrong}")
    assert refused.status == 4
    assert "artefacts.target is 00000000" in refused.output
    assert sorted(reports.iterdir()) == before
