"""A bench for installed units."""

import pytest
from support.installed_judged import subject, verdict
from support.installed_units import Bench

from fixtures.deploy import installed as deployed
from fixtures.deploy.manager import Asked
from fixtures.measure import installed as measured


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def prove(bench, monkeypatch):
    """The judgement on the installed unit; `asked` is what systemd answers."""

    def proven(asked=Asked(silent="systemd does not run here")):  # noqa: B008 - frozen
        monkeypatch.setattr(measured, "tested_arm", lambda _: bench.tested)
        monkeypatch.setattr(deployed, "ask_manager", lambda *_: asked)
        found = measured.installed_unit(subject(bench))
        return found, verdict("DEP-6", found)

    return proven
