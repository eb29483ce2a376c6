"""The guard in whole runs, with a real engine: a stranger's server, memory that is short, the watchdog, and secrets in all places."""

import re
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
from support import child_session
from support.places import ROOT

from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan
from fixtures.engine.slot import HostSlot
from fixtures.host.watchdog import MemoryFloor
from fixtures.models.registry import ensure_registry_model
from fixtures.records.blocked import Blocked
from llama_build import EngineRequest, build_engine

pytestmark = pytest.mark.runtime

ANYBODY = 'residents = [{ name = "of whoever shares this machine", model = "*" }]'


@contextmanager
def live(port, *flags, name="llama-server"):
    """A small server that no session started, under any name; killed at the end."""
    server, model = build_engine(EngineRequest.named("pinned+tbq")).server, ensure_registry_model("smollm2-135m")
    argv = ["bash", "-c", 'program=$0; exec -a "$1" "$program" "${@:2}"', str(server), name]
    argv += ["-m", str(model), "--port", str(port), "-c", "512", "-t", "1", *flags]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        while "listening" not in (line := process.stdout.readline()):
            assert line, "the server ended"
        yield process.pid, str(model)
    finally:
        process.kill()
        process.communicate()


def run(tmp_path, port, *args, residents=ANYBODY, reserve="128.0", env="", competing=""):
    """A session of candidate good-q8 on a host with these settings."""
    host = child_session.write_host(tmp_path, port=port, engine=env)
    text = host.read_text(encoding="utf-8")
    assert ANYBODY in text
    text = text.replace(ANYBODY, residents).replace("reserve_mib = 128.0", f"reserve_mib = {reserve}")
    host.write_text(re.sub(r'cmdline = "asr-.*"', f'cmdline = "{competing}"', text) if competing else text, encoding="utf-8")
    session = child_session.start(host, tmp_path / "reports", "-k", "good", *args)
    session.status = session.wait()
    assert "Traceback" not in session.output, session.output
    return session


def test_a_strangers_server_blocks_until_the_host_names_it(tmp_path):
    with live(18485) as (pid, model):
        (tmp_path / "a").mkdir()
        blocked = run(tmp_path / "a", 18486, "-m", "kv or audit", residents="residents = []")
        record = blocked.record("KV-1", "good-q8")
        assert (blocked.status, record["status"], blocked.own_launches()) == (75, "blocked", [])
        assert re.search(rf"a llama-server \(pid {pid}, port 18485\) holds {re.escape(model)} and \d+ MiB of memory", record["reason"])
        assert f"pid {pid}" in (blocked.folder / "index.html").read_text(encoding="utf-8")
        (tmp_path / "b").mkdir()
        residents = ANYBODY.replace("[{", '[{ name = "mine", port = 18485 }, {')
        named = run(tmp_path / "b", 18486, "-m", "kv", residents=residents)
        assert named.record("KV-1", "good-q8")["status"] == "measured", named.output
        assert psutil.pid_exists(pid)


def test_attached_server_does_not_block_its_own_gates(tmp_path):
    with live(18485, "-ctk", "q8_0", "-ctv", "q8_0", "-c", "2048") as (pid, _):
        host = child_session.write_host(tmp_path, port=18486)
        text = host.read_text(encoding="utf-8")
        host.write_text(text.replace(ANYBODY, "residents = []"), encoding="utf-8")
        session = child_session.start(host, tmp_path / "reports", "--attach=http://127.0.0.1:18485", "-k", "good", "-m", "coherence")
        session.wait()
        # it was looked at, and is not the candidate; that it was there is no reason
        assert "is not proven to be good-q8: it does not say" in session.record("COH-1", "good-q8")["reason"], session.output
        assert f"pid {pid}," not in session.output


def test_launch_that_does_not_fit_is_blocked_with_the_sum_and_nothing_is_started(tmp_path):
    session = run(tmp_path, 18486, "-m", "kv or coherence", reserve="16000000.0")
    for requirement in ("KV-1", "COH-1"):
        record = session.record(requirement, "good-q8")
        assert record["status"] == "blocked"
        said = r"good-q8/\w+ needs \d+ MiB \(weights \d+ \+ KV cache \d+ \+ compute \(estimate\) \d+ \+ reserve 16000000\), and \d+ MiB are"
        assert re.search(said, record["reason"])
    assert (session.status, session.own_launches()) == (75, [])


def test_watchdog_stops_the_server_and_the_run_goes_on(tmp_path, monkeypatch):
    server, model = build_engine(EngineRequest.named("pinned+tbq")).server, ensure_registry_model("smollm2-135m")

    def plan(alias):
        argv = (str(server), "-m", str(model), "--port", "18487", "-c", "512", "-t", "1", "--alias", alias)
        command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, policy_env={})
        return LaunchPlan(command, 18487, alias, model, tmp_path / f"{alias}.log", 60.0, 60.0, 5.0)

    written = []
    with HostSlot(written.append, reserve_mib=64.0) as slot:
        first = slot.server(("c", "production"), lambda: plan("first"))
        assert first.death() == ""
        monkeypatch.setattr(slot._watch, "_looks", [MemoryFloor(64.0, lambda: 20.0)])  # as if another process took it
        deadline = time.monotonic() + 15
        while not first.death() and time.monotonic() < deadline:
            time.sleep(0.1)
        for _ in range(2):
            with pytest.raises(Blocked, match="c/production was stopped by the watchdog: 20 MiB were available, 32 MiB"):
                slot.server(("c", "production"), lambda: plan("first"))
        assert slot.server(("c", "plain"), lambda: plan("second")).death() == ""
    assert next(launch.exit_status for launch in written if launch.ended) == -9


SECRETS_OF_A_NEIGHBOUR = [
    "--api-key",
    "planted-01",
    "--api-key=planted-02",
    "--hf-token",
    "planted-03",
    "-e",
    "HF_TOKEN=planted-04",
    "--env=AWS_SECRET_ACCESS_KEY=planted/05",
    "sh -c 'exec x --api-key planted-06'",
    "Authorization: Bearer planted-07",
    "https://me:planted-08@host/m",
    "X-Api-Key: planted-09",
    '{"password": "planted-10"}',
    "--db-password=planted-11",
]


def test_no_secret_is_in_any_file_that_a_run_writes_nor_on_the_terminal(tmp_path):
    """Secrets in the host file, in a neighbour's and in a resident server's command line, and in the lock."""
    env = "\n".join(
        (
            "[engine.env]",
            'HF_TOKEN = "planted-12"',
            'AWS_SECRET_ACCESS_KEY = "planted-13"',
            'HTTPS_PROXY = "http://me:planted-14@proxy:3128"',
            'LLAMA_OPTS = "--metrics --api-key planted-15"',
            'DB_PASSWORD = "planted-16"',
        )
    )
    service = [sys.executable, "-c", "import time; time.sleep(300)", "asr-with-secrets", *SECRETS_OF_A_NEIGHBOUR]
    shell = ["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *service]
    told, _ = subprocess.Popen(shell, stdout=subprocess.PIPE, text=True).communicate()
    try:
        with live(18485, "--api-key", "planted-17"):
            session = run(tmp_path, 18486, "-m", "audit or kv or deploy or coherence", env=env, competing="asr-with-secrets")
    finally:
        psutil.Process(int(told)).kill()
    assert session.record("KV-1", "good-q8")["status"] == "measured", session.output
    report = session.record("AUD-5", "good-q8")["raw"]["report"]
    assert "--api-key '***' '--api-key=***'" in report["load"][0]["command"]
    files = [path for path in session.reports.rglob("*") if path.is_file()]
    assert len(files) > 5
    leaks = {path.name: re.findall(r"planted.\d\d", path.read_bytes().decode("utf-8", "replace")) for path in files}
    assert {name: found for name, found in leaks.items() if found} == {}
    assert "planted" not in session.output


def test_doctor_prints_no_secret(tmp_path):
    with live(18485, "--api-key", "planted-18") as (pid, _):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--doctor", "--host=dgx", "-p", "no:cacheprovider"],
            cwd=ROOT, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert f"pid {pid}" in done.stdout
    assert "planted" not in done.stdout + done.stderr
