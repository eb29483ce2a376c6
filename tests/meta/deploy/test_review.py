"""`make review`: shows what nobody reviewed, and keeps it only for someone who says who and why."""

import shutil

import pytest

from fixtures.catalog.load import CATALOG
from fixtures.catalog.reviewed import load_reviewed, reviewed_files
from fixtures.deploy.review import main
from fixtures.records.base import utc_now


@pytest.fixture
def catalog(tmp_path):
    return shutil.copytree(CATALOG, tmp_path / "catalog", ignore=shutil.ignore_patterns("*.py", "__pycache__"))


def edit(catalog, old, new):
    host = catalog / "hosts" / "local.toml"
    text = host.read_text("utf-8")
    assert text.count(old) == 1
    host.write_text(text.replace(old, new), "utf-8")


def contents(catalog):
    return {found: (catalog / "reviewed" / found[0] / f"{found[1]}.toml").read_bytes() for found in reviewed_files(catalog)}


def test_all_that_is_shipped_is_reviewed(capsys):
    assert main([]) == 0
    assert capsys.readouterr() == ("", "review: every rendered text is the reviewed one\n")


def test_a_difference_is_shown_and_nothing_is_written(catalog, capsys):
    before = contents(catalog)
    edit(catalog, "port = 18084", "port = 18999")
    assert main([], catalog) == 1
    told = capsys.readouterr()
    review = load_reviewed("local", "smollm2-135m-q8", catalog).review
    assert f"--- reviewed/local/smollm2-135m-q8.toml\tby {review.who} on {review.date}\n" in told.out
    assert "\n+++ rendered/local/smollm2-135m-q8.toml\n" in told.out
    assert '-    "--port 18084",\n+    "--port 18999",\n' in told.out
    assert "1 candidate to look at; accept all with --accept" in told.err
    assert contents(catalog) == before


@pytest.mark.parametrize("given", ["", "yes", "Ann:", "Ann: ok", ": looked at it all", "Ann: looked\nat it all"])
def test_it_refuses_an_acceptance_without_a_person_or_a_reason(catalog, capsys, given):
    before = contents(catalog)
    edit(catalog, "port = 18084", "port = 18999")
    assert main(["--accept", given], catalog) == 2
    assert 'expected "WHO: REASON"' in capsys.readouterr().err
    assert contents(catalog) == before


def test_accepted_texts_are_signed_and_no_other_file_is_touched(catalog, capsys):
    before = contents(catalog)
    edit(catalog, "port = 18084", "port = 18999")
    assert main(["--accept", "Ann Lee: the old port is taken by another"], catalog) == 0
    after = contents(catalog)
    assert {found for found in after if after[found] != before[found]} == {("local", "smollm2-135m-q8")}
    review = load_reviewed("local", "smollm2-135m-q8", catalog).review
    assert (review.who, review.reason) == ("Ann Lee", "the old port is taken by another")
    assert review.date <= utc_now().date().isoformat()
    assert main([], catalog) == 0


def test_a_new_candidate_waits_for_its_review(catalog, capsys):
    file = catalog / "reviewed" / "local" / "smollm2-135m-q8.toml"
    file.unlink()
    assert main([], catalog) == 1
    assert '+    "--port 18084",\n' in capsys.readouterr().out
    assert not file.exists()


def test_a_stale_file_is_shown_as_gone_and_goes_once_accepted(catalog, capsys):
    stale = catalog / "reviewed" / "oldhost" / "old-q8.toml"
    stale.parent.mkdir()
    shutil.copy(catalog / "reviewed" / "local" / "smollm2-135m-q8.toml", stale)
    assert main([], catalog) == 1
    assert "+++ rendered/oldhost/old-q8.toml\n@@ -1," in capsys.readouterr().out
    assert stale.exists()
    assert main(["--accept", "Ann: host and candidate are gone"], catalog) == 0
    assert not stale.exists()


def test_a_file_that_cannot_be_read_is_named(catalog, capsys):
    (catalog / "reviewed" / "local" / "smollm2-135m-q8.toml").write_text("schema = 2\n", "utf-8")
    assert main([], catalog) == 2
    assert "smollm2-135m-q8.toml" in capsys.readouterr().err
