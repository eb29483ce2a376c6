"""Asking a program for its version and help: what it may do, and what stands in the way."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.places import ROOT

from fixtures.engine.dialect import DialectError, probe_dialect
from fixtures.engine.dialects import recorded_texts
from fixtures.host.processes import is_alive


def texts(family):
    version, help_text = recorded_texts(family)
    return version.read_text("utf-8"), help_text.read_text("utf-8")


def program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_probe_reads_both_streams_and_runs_with_exactly_the_given_environment(tmp_path):
    version, text = recorded_texts("upstream")
    body = f'env > {tmp_path}/env\ncase "$1" in --version) cat {version} >&2;; --help) cat {text};; esac'
    server = program(tmp_path / "llama-server", body)
    assert probe_dialect(server, {"PATH": os.defpath, "MARK": "1"}).family == "upstream"
    names = {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names <= {"PATH", "MARK", "PWD", "OLDPWD", "SHLVL", "_"}
    assert "MARK" in names


def test_a_program_that_is_no_llama_server_is_named():
    with pytest.raises(DialectError, match=r"^/bin/ls: this is not a llama-server"):
        probe_dialect(Path("/bin/ls"), {})


def test_nothing_there_a_folder_and_a_plain_file(tmp_path):
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(DialectError, match="is not a file"):
            probe_dialect(path)
    with pytest.raises(DialectError, match=r"not executable by this user.*chmod \+x"):
        probe_dialect(tmp_path / "text")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_program_in_a_folder_that_is_closed_to_this_user(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    server = program(tmp_path / "closed" / "llama-server", "exit 0")
    code = (
        "import os, pathlib, sys; from fixtures.engine.dialect import DialectError, probe_dialect\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: probe_dialect(pathlib.Path(sys.argv[1]))\n"
        "except DialectError as error: print(error)"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code, str(server)], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{server} cannot be looked at: Permission denied. This user needs search access to its folders.\n"


def test_a_program_for_another_machine(tmp_path):
    foreign = tmp_path / "llama-server"
    foreign.write_bytes(b"\x7fELF" + bytes(60))
    foreign.chmod(stat.S_IRWXU)
    with pytest.raises(DialectError, match=rf"cannot be run: .*program for this machine \({os.uname().machine}\)"):
        probe_dialect(foreign)


def test_a_missing_library_asks_for_ld_library_path_and_finds_the_folder(tmp_path):
    said = "error while loading shared libraries: libllama.so.0: cannot open shared object file: No such file or directory"
    (tmp_path / "bin").mkdir()
    server = program(tmp_path / "bin" / "llama-server", f"echo '$0: {said}' >&2; exit 127")
    with pytest.raises(
        DialectError, match=r"does not find the shared library libllama\.so\.0.*\[engine\.env\], set LD_LIBRARY_PATH to the folder"
    ):
        probe_dialect(server)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libllama.so.0").touch()
    with pytest.raises(DialectError, match=f'LD_LIBRARY_PATH = "{tmp_path}/lib"'):
        probe_dialect(server)


@pytest.mark.parametrize("then", ["wait", "exit 0"])
def test_a_hanging_program_is_killed_with_its_children(tmp_path, then):
    server = program(tmp_path / "llama-server", f"sleep 60 & echo $! > {tmp_path}/child; {then}")
    with pytest.raises(DialectError, match=r"gave no answer within 1 s and was killed"):
        probe_dialect(server, timeout_s=1.0)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10  # the kernel delivers the signal in its own time
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child)


def test_a_program_that_fails_or_dies_shows_its_last_lines(tmp_path):
    with pytest.raises(DialectError, match=r"ended with status 3.*\nno CUDA driver$"):
        probe_dialect(program(tmp_path / "fails", "echo no CUDA driver; exit 3"))
    with pytest.raises(DialectError, match=r"was killed by signal 6.*\n\(no output\)$"):
        probe_dialect(program(tmp_path / "aborts", "kill -6 $$"))


def test_the_probe_leaves_no_process_and_no_descriptor_behind(tmp_path):
    """Run apart from pytest, whose own plumbing would hide a leak."""
    version, text = recorded_texts("upstream")
    server = program(tmp_path / "llama-server", f'case "$1" in --version) cat {version};; --help) cat {text};; esac')
    code = (
        "import os, sys, pathlib; from fixtures.engine.dialect import probe_dialect\n"
        "fds = lambda: set(os.listdir('/proc/self/fd'))\n"
        "before = fds(); probe_dialect(pathlib.Path(sys.argv[1])); assert fds() == before, fds() - before"
    )
    root = ROOT
    subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", code, str(server)], cwd=root, check=True, timeout=60)
