"""What `make docs` writes into the README is what the catalog says."""

import pytest

from fixtures.catalog.load import load_requirements
from fixtures.catalog.readme import README, with_table, write


def test_the_table_of_requirements_is_up_to_date():
    text = README.read_text("utf-8")
    assert text == with_table(text, load_requirements()), "call `make docs`"


def test_another_catalog_gives_another_table(tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text("utf-8").replace("| KV-1 |", "| old |"), "utf-8")
    assert write(copy)
    assert copy.read_text("utf-8") == README.read_text("utf-8")
    assert not write(copy)


def test_a_readme_without_its_comments_is_refused():
    with pytest.raises(ValueError, match="requirements:end"):
        with_table("no comments here", load_requirements())
