"""Host files and waivers that would hide a fault: no session begins with them, and one message says why."""

import pytest
from support import child_session
from support.planted_table import faults_of
from support.planting import Host

pytestmark = [pytest.mark.runtime, pytest.mark.long]

ROWS = faults_of("refused")
SIGNED = {"candidate": "clean", "reason": "it failed once in the spring", "who": "Ann"}


@pytest.mark.parametrize("fault", ROWS, ids=[fault.id for fault in ROWS])
def test_caught(tmp_path, fault):
    host, waivers = Host(tmp_path, 21360, {"clean": {}}).write(), tmp_path / "waivers.toml"
    host.file.write_text(host.file.read_text() + "".join(f"\n[tiers]\n{line}\n" for line in [fault.plant.get("tiers")] if line))
    entry = "\n".join(f'{key} = "{value}"' for key, value in (SIGNED | fault.plant.get("waiver", {})).items())
    waivers.write_text("schema = 1\n" + (f"[[waiver]]\n{entry}\n" if "waiver" in fault.plant else ""))
    session = child_session.start(host.file, tmp_path / "reports", "--signoff", f"--waivers={waivers}")
    assert session.wait() == 4, session.output
    told = " ".join(session.output.split())
    assert [words for words in fault.says if words not in told] == [], session.output
    assert "Traceback" not in session.output
