"""Meta tests start engines and break things on purpose: they refuse any host but the embedded one."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.plugins.state import STATE

CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium under Playwright; skips where either is missing."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on PATH: apt-get install chromium fonts-noto-cjk")
    api = pytest.importorskip("playwright.sync_api", reason="the page is looked at with Playwright: `make setup` installs it")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    host = config.stash[STATE].host.id
    if host != "local":
        raise pytest.UsageError(f"tests/meta tests the suite itself and runs on host local only, not on {host}: add --host=local")
