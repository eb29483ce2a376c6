"""The archive: the newest record of an identity speaks, found by an index that is never the truth."""

import multiprocessing
import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from support.archive_samples import IDENTITY, KEY, LAST, record, run_name, seal, write_run

from fixtures.evidence.archive import open_archive
from fixtures.evidence.index import index_file
from fixtures.records.evidence import Attestation, EvidenceStatus

pytestmark = pytest.mark.usefixtures("own_cache")
ERROR = EvidenceStatus.ERROR


def newest(reports, identity=IDENTITY, key=KEY):
    """(day of the newest record of the identity, its status), as the ledger has it; or what keeps it from being believed."""
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        entry = archive.newest(key, identity)
        if entry is None:
            return None
        found = archive.reread(key, entry)
    return found if isinstance(found, str) else (int(found.run[6:8]), str(found.status))


def test_the_newest_of_the_identity(reports):
    write_run(reports, 1, record(1))
    write_run(reports, 3, record(3))
    write_run(reports, 4, record(4, identity=IDENTITY | {"models": "other"}))
    assert newest(reports) == (3, "measured")
    assert newest(reports, IDENTITY | {"models": "none"}) is None
    assert newest(reports, {}) is None


@pytest.mark.parametrize(
    ("identity", "seen"),
    [
        (IDENTITY, True),
        ({}, True),
        ({"engine": "e"}, True),
        ({"engine": "other"}, False),
        (IDENTITY | {"models": "other"}, False),
        (IDENTITY | {"attached": "http://127.0.0.1:8080"}, False),
    ],
    ids=["whole", "died-before-anything-was-known", "part", "other-engine", "other-model", "attached"],
)
def test_a_crash_counts_from_what_was_known_of_it(reports, identity, seen):
    write_run(reports, 1, record(1))
    write_run(reports, 2, record(2, identity=identity, status=ERROR, reason="died"))
    assert newest(reports) == ((2, "error") if seen else (1, "measured"))


def test_what_was_blocked_says_nothing(reports):
    write_run(reports, 1, record(1))
    write_run(reports, 2, record(2, status=EvidenceStatus.BLOCKED, reason="lock"))
    assert newest(reports) == (1, "measured")


def test_a_crash_is_newer_than_a_pass_that_was_carried_past_it(reports):
    """As earlier suites did: a run after the crash took the older PASS over."""
    write_run(reports, 1, record(1))
    write_run(reports, 2, record(2, status=ERROR, reason="died"))
    write_run(reports, 3, record(1).model_copy(update={"run": run_name(3), "reused_from": f"{run_name(1)}#1"}))
    assert newest(reports) == (2, "error")


def test_a_crash_in_a_killed_run_counts(reports):
    write_run(reports, 1, record(1))
    write_run(reports, 2, record(2, status=ERROR, reason="died"), sealed=False)
    assert newest(reports) == f"{run_name(2)}: it was cut off before its verdict"


def attested(day):
    vouched = Attestation(source="the report of May", date="2026-05-14", who="lee")
    return record(day).model_copy(update={"attested": vouched})


def test_an_imported_reading_needs_no_verdict_and_is_as_new_as_its_import(reports):
    write_run(reports, 5, attested(5), sealed=False)
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        entry = archive.attested(KEY)
        assert entry.at == "2026-11-05T12:00:00.000+00:00"
        assert archive.reread(KEY, entry).attested.who == "lee"
    assert newest(reports) is None


def changed_digit(folder):
    file = folder / "evidence.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"duration_s":1.0', b'"duration_s":2.0'))


def changed_digit_and_sealed_by_another(folder):
    changed_digit(folder)
    shutil.copy(folder.parent / run_name(1) / "verdict.json", folder / "verdict.json")


def dropped(folder):
    (folder / "evidence.jsonl").write_bytes(b"")


def torn(folder):
    file = folder / "evidence.jsonl"
    file.write_bytes(file.read_bytes()[:-20])


def of_another_host(folder):
    seal(folder, "dgx")


def renamed(folder):
    folder.rename(folder.with_name(run_name(6)))


def no_verdict(folder):
    (folder / "verdict.json").write_text("[]")


def binary(folder):
    (folder / "evidence.jsonl").write_bytes(os.urandom(4000) + b"\n")


def a_folder(folder):
    (folder / "evidence.jsonl").unlink()
    (folder / "evidence.jsonl").mkdir()


@pytest.mark.parametrize(
    "damage", [changed_digit, changed_digit_and_sealed_by_another, dropped, torn, of_another_host, renamed, no_verdict, binary, a_folder]
)
def test_one_damaged_run_is_named_and_stops_nothing(reports, damage):
    write_run(reports, 1, record(1, case="a"))
    damage(write_run(reports, 2, record(2)))
    write_run(reports, 7, record(7, case="b"))
    assert newest(reports, key=(*KEY[:2], "a")) == (1, "measured")
    assert newest(reports, key=(*KEY[:2], "b")) == (7, "measured")
    found = newest(reports)
    assert found is None or isinstance(found, str), "what is damaged is never evidence"
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        (problem,) = archive.problems
    assert problem.startswith((run_name(2), run_name(6)))


def test_a_ledger_that_is_damaged_after_the_index_was_opened_is_not_believed(reports):
    folder = write_run(reports, 1, record(1))
    with closing(open_archive(reports, "local", before=LAST)) as archive:
        entry = archive.newest(KEY, IDENTITY)
        changed_digit(folder)
        assert archive.reread(KEY, entry) == f"{run_name(1)}: its ledger is not the one that its verdict sealed"


def missing(file, _reports):
    file.unlink()


def empty(file, _reports):
    file.write_bytes(b"")


def garbage(file, _reports):
    file.write_bytes(os.urandom(9000))


def half(file, _reports):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_other_reports(file, reports):
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE about SET reports = '/elsewhere'")


def other_version(file, reports):
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE about SET version = 0")


def another_database(file, _reports):
    file.unlink()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE about (x INTEGER)")


def without_the_crash(file, _reports):
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM record WHERE status = 'error'")


def crash_as_measured(file, _reports):
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE record SET status = 'blocked', at = '2000' WHERE status = 'error'")


def other_parts(file, _reports):
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE identity SET parts = '{}'")


def without_a_table(file, _reports):
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DROP TABLE record")


def stale(file, reports):
    (reports / run_name(9)).rename(reports / "aside")
    assert newest(reports) == (1, "measured")
    (reports / "aside").rename(reports / run_name(9))


@pytest.mark.parametrize(
    "spoil",
    [
        missing,
        empty,
        garbage,
        half,
        of_other_reports,
        other_version,
        another_database,
        without_the_crash,
        crash_as_measured,
        other_parts,
        without_a_table,
        stale,
    ],
)
def test_an_index_that_is_not_right_is_made_anew(reports, spoil):
    write_run(reports, 1, record(1))
    write_run(reports, 9, record(9, status=ERROR, reason="died"))
    assert newest(reports) == (9, "error")
    spoil(index_file(reports, "local"), reports)
    assert newest(reports) == (9, "error")


def test_a_cache_that_cannot_be_written_is_done_without(reports, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_run(reports, 1, record(1))
    assert newest(reports) == (1, "measured")


def test_an_index_that_another_process_holds_is_done_without(reports, monkeypatch):
    monkeypatch.setattr("fixtures.evidence.index._BUSY_S", 0.1)
    write_run(reports, 1, record(1))
    assert newest(reports) == (1, "measured")
    write_run(reports, 2, record(2))
    with closing(sqlite3.connect(index_file(reports, "local"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert newest(reports) == (2, "measured")
    assert newest(reports) == (2, "measured")


def _opened(reports, days):
    for _ in range(5):
        assert newest(reports) == (days, "measured")


def test_processes_that_open_it_at_once_agree(reports):
    days = 12
    for day in range(1, days + 1):
        write_run(reports, day, record(day))
    workers = [multiprocessing.get_context("spawn").Process(target=_opened, args=(reports, days)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


def test_a_changed_ledger_is_seen_though_size_and_time_are_the_same(reports):
    folder = write_run(reports, 1, record(1))
    assert newest(reports) == (1, "measured")
    was = (folder / "evidence.jsonl").stat()
    changed_digit(folder)
    os.utime(folder / "evidence.jsonl", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert newest(reports) == f"{run_name(1)}: its ledger is not the one that its verdict sealed"
