"""A tiny source tree to build, and a cache of its own."""

import pytest
from support.tiny_tree import write_tree


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"
