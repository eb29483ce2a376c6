"""Facts about processes."""

import os
import subprocess
import time

import pytest

from fixtures.host import processes


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/llama-gemma4-26b.service\n", "llama-gemma4-26b.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/asr.service\n", "asr.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", None),
        ("0::/system.slice/asr.service/payload\n", "asr.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r5.scope\n", "run-r5.scope"),
        ("12:cpu:/system.slice/wrong.service\n1:name=systemd:/system.slice/asr.service\n0::/\n", "asr.service"),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_unit_in(cgroups, unit):
    assert processes.unit_in(cgroups) == unit


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["llama-server", "-m", "a b.gguf"], "llama-server -m 'a b.gguf'"),
        (["llama-server", "--api-key", "s3cret", "--port", "1"], "llama-server --api-key '***' --port 1"),
        (["llama-server", "--api-key=s3cret"], "llama-server '--api-key=***'"),
        (["x", "-hft", "s3cret"], "x -hft '***'"),
        (["x", "--hf-token", "s3cret", "--max-tokens", "5"], "x --hf-token '***' --max-tokens 5"),
        (["python", "-c", "a\nb"], "python -c 'a b'"),
        ([], ""),
    ],
)
def test_printable_command_is_one_line_without_secrets(argv, shown):
    assert processes.printable_command(argv) == shown


def test_printable_command_is_cut():
    shown = processes.printable_command(["x" * 1000])
    assert len(shown) == 300
    assert shown.endswith("…")


def test_stat_of_a_process_with_blanks_and_brackets_in_its_name(tmp_path):
    program = tmp_path / "a) R (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "20"]) as child:
        try:
            reading = processes.read_stat(child.pid)
            assert reading.cpu_s < 1
            age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - reading.start_s
            assert -0.1 < age_s < 30
        finally:
            child.kill()
    assert processes.read_stat(child.pid) is None
    assert not processes.is_alive(child.pid)


def test_facts_of_this_process():
    me = processes.facts(os.getpid())
    assert me.pid == os.getpid()
    assert me.name and me.user and me.command
    assert time.time() - 86400 < me.started.timestamp() <= time.time() + 2


def test_lineage():
    assert {os.getpid(), os.getppid()} <= processes.ancestors()
    assert processes.descends_from_us(os.getpid())
    assert not processes.descends_from_us(os.getppid())
    assert not processes.descends_from_us(2**22 + 1)
