"""An empty config folder, and a copy of the catalog to change."""

import shutil

import pytest

from fixtures.catalog.load import CATALOG


@pytest.fixture
def config(tmp_path, monkeypatch):
    """An own, empty config folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "llama-readiness"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def catalog(tmp_path):
    """A copy of the catalog to change."""
    folder = tmp_path / "catalog"
    shutil.copytree(CATALOG, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder
