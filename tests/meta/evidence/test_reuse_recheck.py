"""Evidence outlives its run: reused while its identity matches, judged again offline, never trusted when damaged."""

import json
import shutil

import pytest
from support import child_session

from fixtures.models.registry import ensure_registry_model

pytestmark = [pytest.mark.runtime, pytest.mark.long]

COUNTED = "kv or coherence"


def run(host, reports, *args):
    session = child_session.start(host, reports, *args)
    session.status = session.wait()
    assert "Traceback" not in session.output, session.output
    session.newest = max(path for path in reports.iterdir() if path.is_dir() and not path.name.endswith("-recheck"))
    return session


def records(folder):
    return {(r["requirement"], r["candidate"]): r for r in map(json.loads, (folder / "evidence.jsonl").read_text().splitlines())}


def started(folder):
    file = folder / "launches.jsonl"
    return (
        [entry["candidate"] for entry in map(json.loads, file.read_text().splitlines()) if entry["ended"] is None] if file.exists() else []
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A host, and the reports folder that holds one measured run of it."""
    folder = tmp_path_factory.mktemp("measured")
    other = folder / "other.gguf"
    shutil.copy(ensure_registry_model("smollm2-135m"), other)
    host = child_session.write_host(folder, port=19000, other=f'target = {{ kind = "file", path = "{other}" }}')
    first = run(host, folder / "reports", "-m", COUNTED)
    assert first.status == 0, first.output
    return host, folder / "reports", first.newest


@pytest.fixture
def copied(measured, tmp_path):
    """The measured run in a reports folder of this test's own."""
    host, _, first = measured
    shutil.copytree(first, tmp_path / "reports" / first.name)
    return host, tmp_path / "reports", tmp_path / "reports" / first.name


def test_same_identity_is_reused_without_a_launch(copied):
    host, reports, first = copied
    second = run(host, reports, "-m", COUNTED)
    assert second.status == 0, second.output
    assert started(second.newest) == []
    reused = {key: r for key, r in records(second.newest).items() if r["arm"] != "none"}
    assert {r["reused_from"].split("#")[0] for r in reused.values()} == {first.name}
    assert [r["started"] for r in reused.values()] == [records(first)[key]["started"] for key in reused]


def test_fresh_measures_again(copied):
    host, reports, _ = copied
    second = run(host, reports, "-m", "kv", "-k", "good", "--fresh")
    assert (second.status, started(second.newest)) == (0, ["good-q8", "good-q8"]), "the KV type, then the candidate"


def test_another_model_file_is_measured_again_and_says_what_changed(copied, tmp_path):
    host, reports, first = copied
    text = host.read_text()
    changed = tmp_path / "other.gguf"
    original = ensure_registry_model("smollm2-135m").read_bytes()
    changed.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    path = text[text.index('kind = "file", path = "') :].split('"')[3]
    other = tmp_path / host.name
    other.write_text(text.replace(path, str(changed)))
    second = run(other, reports, "-m", "kv")
    assert started(second.newest) == ["other-q8"]
    record = records(second.newest)["KV-1", "other-q8"]
    assert record["reused_from"] is None
    assert record["raw"]["supersedes"]["run"] == first.name
    assert set(record["raw"]["supersedes"]["changed"]) == {"models", "command"}


def test_damaged_ledger_is_not_reused(copied):
    host, reports, first = copied
    ledger = first / "evidence.jsonl"
    ledger.write_text(ledger.read_text().replace('"http_status":200', '"http_status":201', 1))
    second = run(host, reports, "-m", "kv", "-k", "good")
    assert started(second.newest) == ["good-q8"]


def test_speed_is_never_reused_but_counts_from_the_ledger(copied):
    host, reports, _ = copied
    speed = run(host, reports, "-m", "tps", "-k", "good")
    assert (speed.status, started(speed.newest)) == (0, ["good-q8"])
    again = run(host, reports, "-m", "tps", "-k", "good")
    assert started(again.newest) == ["good-q8"]
    judged = run(host, reports, "-m", "tps or kv", "-k", "good", "--from-ledger")
    assert judged.status == 0, judged.output
    assert started(judged.newest) == []
    missing = run(host, reports, "-m", "tps", "-k", "other", "--from-ledger")
    assert missing.status == 75
    assert "--from-ledger launches nothing" in missing.output


def recheck(reports, folder, tmp_path):
    started = child_session.start("local", tmp_path / "unused", f"--recheck={folder}", f"--reports={reports}")
    started.status = started.wait()
    assert "Traceback" not in started.output, started.output
    return started


def test_recheck_is_byte_equal_and_starts_nothing(copied, tmp_path):
    _, reports, first = copied
    before = {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()}
    session = recheck(reports, first, tmp_path)
    assert session.status == 0, session.output
    assert "comes out byte for byte" in session.output
    assert {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()} == before
    again = reports / f"{first.name}-recheck"
    assert (again / "verdict.json").read_bytes() == before["verdict.json"]
    assert not (again / "launches.jsonl").exists()


def longer(line):
    """The record with another duration."""
    return line.replace(b'"duration_s":', b'"duration_s":1', 1)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda lines: [longer(lines[0]), *lines[1:3], *lines[4:6], lines[7], lines[6], *lines[8:]],
            ("record 2: does not follow", "record 4: carries seq 5", "record 6: carries seq 8"),
        ),
        (lambda lines: [*lines[:-1], longer(lines[-1])], ("changed, added or dropped after the run was sealed",)),
        (lambda lines: lines[:-1], ("changed, added or dropped after the run was sealed",)),
    ],
    ids=["digit-dropped-swapped", "last-digit", "last-dropped"],
)
def test_recheck_names_a_damaged_record(copied, tmp_path, damage, named):
    _, reports, first = copied
    ledger = first / "evidence.jsonl"
    ledger.write_bytes(b"".join(line + b"\n" for line in damage(ledger.read_bytes().splitlines())))
    session = recheck(reports, first, tmp_path)
    assert session.status == 1
    for part in named:
        assert part in session.output


def test_recheck_reports_a_corrupted_verdict(copied, tmp_path):
    _, reports, first = copied
    verdict = first / "verdict.json"
    verdict.write_text(verdict.read_text().replace('"NOT READY"', '"READY"').replace('"INCOMPLETE"', '"READY"'))
    session = recheck(reports, first, tmp_path)
    assert session.status == 1
    assert "verdict.json, " in session.output
    assert 'recorded "READY"' in session.output


def test_recheck_of_no_run_is_one_message(tmp_path):
    session = recheck(tmp_path / "reports", tmp_path / "nothing", tmp_path)
    assert session.status == 4
    assert "is no run folder" in session.output
