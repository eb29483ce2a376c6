"""Meta tests start engines and break things on purpose: they refuse any host but the embedded one."""

import pytest

from fixtures.plugins.state import STATE


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    host = config.stash[STATE].host.id
    if host != "local":
        raise pytest.UsageError(f"tests/meta tests the suite itself and runs on host local only, not on {host}: add --host=local")
