"""What journalctl prints ends: by size, by time, or because there is none."""

import pytest

from fixtures.host.journal import read_journal
from fixtures.records.foreign_file import ForeignFileError


@pytest.fixture
def journalctl(tmp_path, monkeypatch):
    """A journalctl with the given body."""

    def made(body):
        program = tmp_path / "journalctl"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return made


def test_what_was_selected_is_told(journalctl):
    journalctl('echo "$@"')
    assert read_journal(["_PID=7"], timeout_s=60, limit=1000) == "--quiet --no-pager --boot --output=cat _PID=7\n"


def test_an_endless_one_is_refused(journalctl):
    journalctl("exec yes flood")
    with pytest.raises(ForeignFileError, match="is larger than 64 KiB"):
        read_journal(["_PID=7"], timeout_s=60, limit=1 << 16)


def test_one_that_hangs_or_is_not_there_says_nothing(journalctl, monkeypatch):
    journalctl("echo first; exec sleep 600")
    assert read_journal([], timeout_s=0.5, limit=1000) == ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert read_journal([], timeout_s=60, limit=1000) == ""
