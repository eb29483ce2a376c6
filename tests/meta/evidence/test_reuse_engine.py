"""Evidence is not reused behind a program that can hide what runs: a script, or an ELF program that becomes another one."""

import json
import subprocess

import pytest
from support import child_session

from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

BECOMES = """\
#include <unistd.h>
int main(int count, char **words) { (void)count; return execv("%s", words); }
"""


def a_script(folder):
    return child_session.faulty_engine(folder)


def a_program(folder):
    folder.mkdir()
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    subprocess.run(["cc", "-x", "c", "-", "-o", str(folder / "llama-server")], input=BECOMES % server, text=True, check=True)
    return f'path = "{folder}"\ncommit = "0c1e57098bba"'


def kv(host):
    """The KV record of `good-q8` of a new session, and whether it was launched."""
    reports = host.parent / "reports"
    session = child_session.start(host, reports, "-m", "kv", "-k", "good")
    assert session.wait() == 0, session.output
    folder = max(path for path in reports.iterdir() if path.is_dir())
    records = map(json.loads, (folder / "evidence.jsonl").read_text().splitlines())
    (record,) = [record for record in records if record["requirement"] == "KV-1"]
    return record, record["reused_from"] is None


@pytest.mark.parametrize(
    ("wrapper", "port", "said"),
    [(a_script, 18740, "llama-server is no ELF program"), (a_program, 18755, "")],
    ids=["script", "program"],
)
def test_nothing_is_reused_behind_a_wrapper(tmp_path, wrapper, port, said):
    host = child_session.write_host(tmp_path, port=port, recipe="path", engine=wrapper(tmp_path / "engine"))
    first, launched = kv(host)
    assert launched
    assert any(path.endswith("/llama-server") for path in first["raw"]["mapped_instead"]), "what ran was not what was looked at"
    again, launched = kv(host)
    assert launched, "nothing has changed, as far as can be seen; and that is not far"
    assert said in again["raw"]["supersedes"]["because"]
    assert again["raw"]["supersedes"]["because"] or again["raw"]["supersedes"]["changed"] == ["engine"]
