"""Since when a sign-off no longer holds, by the looks on record."""

from datetime import UTC, datetime, timedelta

import pytest

from fixtures.evidence.run_folder import ReportsError
from fixtures.operate.watch_log import Look, append, broken_since, log_file, verdict_of
from fixtures.operate.watch_look import Finding

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def look(minute, holds, *, candidate="good", run="run-1"):
    return Look(at=NOON + timedelta(minutes=minute), host="ground", candidate=candidate, signed_off=run, holds=holds, findings=())


def since(folder, *looks):
    file = log_file(folder, "ground")
    for each in looks:
        append(file, each)
    first, held = broken_since(file, look(60, False))
    return (first - NOON).seconds // 60, held and (held - NOON).seconds // 60


def test_the_first_of_the_last_looks_in_a_row_counts(tmp_path):
    assert since(tmp_path, look(0, True), look(10, False), look(20, True), look(30, False), look(40, None), look(50, False)) == (30, 20)


def test_the_first_look_of_all(tmp_path):
    assert since(tmp_path) == (60, None)


def test_what_nobody_could_see_is_no_break(tmp_path):
    assert since(tmp_path, look(0, True), look(10, None)) == (60, 0)


def test_other_candidates_and_sign_offs_do_not_count(tmp_path):
    others = look(10, False, candidate="other"), look(20, False, run="run-0")
    assert since(tmp_path, look(0, True), *others) == (60, 0)


def test_a_torn_line_is_passed_over(tmp_path):
    file = log_file(tmp_path, "ground")
    append(file, look(0, True))
    file.write_bytes(file.read_bytes() + b'{"at": "2026-11')
    assert broken_since(file, look(60, False))[1] == NOON


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportsError, match="give another folder with --reports"):
        append(tmp_path / "file" / "watch-ground.jsonl", look(0, True))


@pytest.mark.parametrize(
    ("said", "holds"),
    [([True, True], True), ([True, None], None), ([None, False, True], False)],
)
def test_what_is_broken_outweighs_what_is_unseen(said, holds):
    assert verdict_of([Finding(what="unit", holds=each, said="x") for each in said]) is holds
