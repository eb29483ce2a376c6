"""Ports against real sockets."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from fixtures.host.guard import port_block
from fixtures.host.ports import is_llama_server, llama_servers, option_value, port_state, port_states

LISTEN = """
import socket, sys, time
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=int(sys.argv[3]))
print("up", flush=True)
time.sleep(30)
"""


@contextmanager
def detached(*argv):
    """The pid of a process that is no descendant of ours, as another service's is; killed at the end."""
    shell = ["sh", "-c", 'setsid "$@" & echo $!', "sh", *argv]
    launcher = subprocess.Popen(shell, stdout=subprocess.PIPE, text=True)
    pid = int(launcher.stdout.readline())
    launcher.wait()
    try:
        assert launcher.stdout.readline() == "up\n"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        launcher.stdout.close()


def needs_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_nothing_listens():
    assert port_state(18360).model_dump(exclude_defaults=True) == {"port": 18360, "free": True}
    assert port_block(port_state(18360)) is None


@pytest.mark.parametrize(
    ("family", "address", "port"),
    [
        (socket.AF_INET, "127.0.0.1", 18361),
        (socket.AF_INET6, "::1", 18376),
        (socket.AF_INET, "0.0.0.0", 18377),  # noqa: S104 - as llama-server's --host often is; nothing is served
        (socket.AF_INET6, "::", 18378),
    ],
)
def test_listener_of_another_service_takes_the_port(family, address, port):
    if family == socket.AF_INET6:
        needs_ipv6()
    with detached(sys.executable, "-c", LISTEN, address, str(port), str(int(family))) as pid:
        state = port_state(port)
        assert (state.free, state.pid, state.ours, state.addresses) == (False, pid, False, (address,))
        assert state.name.startswith("python")
        assert abs(state.since.timestamp() - time.time()) < 60
        assert port_block(state).startswith(f"port {port} is taken by {state.name} (pid {pid}, ")
    assert wait_until_free(port)


def wait_until_free(port):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if port_state(port).free:
            return True
        time.sleep(0.02)
    return False


def test_own_listener_is_ours_and_blocks_nothing():
    with socket.create_server(("127.0.0.1", 18362)):
        state = port_state(18362)
        assert (state.free, state.ours, state.pid) == (False, True, os.getpid())
        assert port_block(state) is None


def test_several_ports_in_the_order_asked():
    with socket.create_server(("127.0.0.1", 18363)):
        states = port_states([18364, 18363, 18360])
    assert [(state.port, state.free) for state in states] == [(18364, True), (18363, False), (18360, True)]


def test_time_wait_is_free():
    with socket.create_server(("127.0.0.1", 18365)) as server:
        client = socket.create_connection(("127.0.0.1", 18365))
        served, _ = server.accept()
        served.close()  # who closes first keeps TIME_WAIT
        client.close()
    rows = [row for row in psutil.net_connections("tcp") if row.laddr and row.laddr.port == 18365]
    assert {row.status for row in rows} == {psutil.CONN_TIME_WAIT}
    assert port_state(18365).free


def test_udp_is_free():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 18366))
        assert port_state(18366).free


def test_workers_that_share_a_socket_are_named_by_their_service():
    program = """
import os, socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    print("up", flush=True)
time.sleep(20)
"""
    with detached(sys.executable, "-c", program, "18367") as pid:
        (worker,) = psutil.Process(pid).children()
        try:
            assert port_state(18367).pid == pid
        finally:
            worker.kill()


def test_two_services_on_one_port_are_both_named():
    needs_ipv6()
    listen = (sys.executable, "-c", LISTEN)
    with detached(*listen, "127.0.0.1", "18370", "2") as first, detached(*listen, "::1", "18370", "10") as second:
        state = port_state(18370)
    assert {state.pid, int(state.note.removeprefix("also pid "))} == {first, second}


def test_resident_llama_server_is_found_with_model_port_and_memory(tmp_path):
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[1:] = ['127.0.0.1', '18368', '2']\n{LISTEN}\n", encoding="utf-8")
    program.chmod(0o755)
    with detached(str(program), "-m", "/models/gemma.gguf", "--port", "18369") as pid:
        found = {server.pid: server for server in llama_servers()}
        assert found[pid].model == "/models/gemma.gguf"
        assert found[pid].port == 18368  # where it really listens, not what it was asked for
        assert 1 < found[pid].memory_mib < 500


def test_own_llama_server_is_not_resident(tmp_path):
    (tmp_path / "llama-server").symlink_to("/bin/sleep")
    with subprocess.Popen([str(tmp_path / "llama-server"), "30"]) as child:
        try:
            assert child.pid not in {server.pid for server in llama_servers()}
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("name", "argv", "expected"),
    [
        ("llama-server", ["/opt/bin/llama-server", "-m", "x"], True),
        ("llama-server", [], True),
        ("llama-server-b", ["./llama-server-buun"], True),
        ("tail", ["tail", "-f", "llama-server.log"], False),
        ("bash", ["bash", "/opt/llama-server.sh"], False),
        ("grep", ["grep", "llama-server"], False),
        ("kworker/0:1", [], False),
    ],
)
def test_what_counts_as_llama_server(name, argv, expected):
    assert is_llama_server(name, argv) is expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["-m", "a"], "a"),
        (["--model=b"], "b"),
        (["-m", "a", "--model", "c"], "c"),
        (["-m"], None),
        (["--models-dir", "d"], None),
        ([], None),
    ],
)
def test_option_value(argv, expected):
    assert option_value(argv, ("-m", "--model")) == expected


def test_who_begins_to_listen_while_we_look_is_no_other_user(monkeypatch):
    """psutil reads the open files of processes first, the sockets after them: what comes between is nobody's."""
    real, looks = psutil.net_connections, []

    def late(kind):
        looks.append(kind)
        return [row._replace(pid=None) if len(looks) == 1 else row for row in real(kind)]

    monkeypatch.setattr(psutil, "net_connections", late)
    with socket.create_server(("127.0.0.1", 18366)):
        state = port_state(18366)
    assert (state.pid, state.note) == (os.getpid(), "")
    assert len(looks) == 2
