"""Meta tests start engines and break things on purpose: they refuse any host but the embedded one."""

import shutil

import pytest
from hypothesis import settings

from fixtures.plugins.state import STATE

settings.register_profile("meta", deadline=None)  # a busy machine is no failure
settings.load_profile("meta")

CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]

_NAME_CHARACTERS = 120


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache that holds nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium under Playwright; skips where either is missing."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH: apt-get install chromium fonts-noto-cjk")
    api = pytest.importorskip("playwright.sync_api", reason="the page is looked at with Playwright: `make setup` installs it")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()


def pytest_make_parametrize_id(config, val, argname):
    """A whole file as a parameter would be its test's name: such a one is called by its argument and counted."""
    return argname if isinstance(val, str | bytes) and len(val) > _NAME_CHARACTERS else None


def pytest_itemcollected(item):
    """Under -n, the tests of a module stay on one worker: they share ports, servers and child sessions, other modules do not."""
    item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_modifyitems(config):
    host = config.stash[STATE].host.id
    if host != "local":
        raise pytest.UsageError(f"tests/meta tests the suite itself and runs on host local only, not on {host}: add --host=local")
