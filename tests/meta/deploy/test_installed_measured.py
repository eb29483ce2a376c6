"""DEP-6 and AUD-4 as they are measured and judged: the three states of a unit, what is missing, and what hides the port."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.installed_judged import loaded, subject, verdict
from support.installed_units import POLICY, UNIT

from fixtures.deploy.manager import Loaded, loaded_of, variables_of
from fixtures.measure import installed as measured
from fixtures.measure.audit.unit import unit_file
from fixtures.records.verdict import Verdict


def test_the_right_unit_passes_and_says_what_could_not_be_asked(bench, prove):
    bench.install(bench.line())
    found, judgement = prove()
    assert judgement.verdict is Verdict.PASS
    silent = "systemd does not run here"
    assert found.raw["states"] == {"files": "read", "loaded": silent, "process": silent}
    assert found.raw["files"] == [str(bench.units / UNIT)]


def test_another_unit_fails_with_each_difference(bench, prove):
    bench.install(bench.line({"-ctk": "f16", "-c": "2048"}))
    _, judgement = prove()
    assert judgement.verdict is Verdict.FAIL
    assert "-ctk f16, tested was q8_0" in judgement.reason
    assert "-c 2048, tested was 8192" in judgement.reason


def test_what_hides_the_answer_blocks(bench, prove):
    bench.install("/opt/start-llama.sh")
    _, judgement = prove()
    assert judgement.verdict is Verdict.BLOCKED
    assert "/opt/start-llama.sh" in judgement.reason


def test_a_forgotten_reload_fails(bench, prove):
    bench.install(bench.line())
    _, judgement = prove(loaded(bench, needs_reload=True))
    assert judgement.verdict is Verdict.FAIL
    assert "NeedDaemonReload" in judgement.reason


def test_what_systemd_has_loaded_from_elsewhere_counts(bench, prove):
    bench.install(bench.line())
    other = bench.file(f"other/{UNIT}", f"[Service]\nExecStart={bench.line({'-ctk': 'f16'})}\n")
    _, judgement = prove(loaded(bench, fragment=str(other)))
    assert judgement.verdict is Verdict.FAIL
    assert f"systemd has loaded {other}" in judgement.reason
    assert "-ctk f16" in judgement.reason


def test_dropins_are_those_that_systemd_names(bench, prove):
    bench.install(bench.line())
    made = bench.file("generator/50-env.conf", "[Service]\nEnvironment=TURBO_PURE=0\n")
    _, judgement = prove(loaded(bench, dropins=(str(made),)))
    assert "sets TURBO_PURE=0" in judgement.reason


def test_variables_that_systemd_hands_on_count(bench, prove):
    bench.install(bench.line())
    asked = loaded(bench)
    _, judgement = prove(asked.model_copy(update={"environment": {"LLAMA_ARG_SWA_FULL": "1"}}))
    assert "has LLAMA_ARG_SWA_FULL on" in judgement.reason
    assert "what systemd hands on to every service" in judgement.reason


def test_a_unit_that_systemd_does_not_know_blocks(bench, prove):
    bench.install(bench.line())
    _, judgement = prove(loaded(bench, load_state="not-found", fragment=""))
    assert judgement.verdict is Verdict.BLOCKED
    assert "systemd has loaded no unit llama-gate.service (not-found)" in judgement.reason


def test_the_process_that_runs_is_compared(bench, prove):
    """The unit was put right and reloaded, but the server of yesterday still runs."""
    bench.install(bench.line())
    bench.program.unlink()
    bench.program.write_bytes(Path("/bin/sleep").read_bytes())
    bench.program.chmod(0o755)
    process = subprocess.Popen([bench.program, "60"], env={"TURBO_PURE": "1"})
    try:
        found, judgement = prove(loaded(bench, active_state="active", pid=process.pid))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert judgement.verdict is Verdict.FAIL
    assert f"the running process (pid {process.pid})" in judgement.reason
    assert "lacks the variable GGML_CUDA_DISABLE_GRAPHS" in judgement.reason
    assert found.raw["states"]["process"] == f"active, pid {process.pid}"


def test_a_candidate_without_a_unit_file_is_blocked(bench):
    found = unit_file(subject(bench))
    assert verdict("AUD-4", found).verdict is Verdict.BLOCKED
    assert str(bench.units / UNIT) in verdict("AUD-4", found).reason


INPUT_11 = {
    "05-bash-c": "ExecStart=/bin/bash -lc 'source /opt/llama/env.sh && exec /opt/llama/bin/llama-server -m /m/g.gguf -np 1 --port 8088'",
    "06-wrapper": "Environment=API_PORT=8088\nExecStart=/usr/local/bin/llama-server-wrapper.sh",
    "08-envfile": "EnvironmentFile=/etc/llama/26b.env\nExecStart=/opt/llama/bin/llama-server -m ${MODEL} --port ${PORT} $EXTRA_ARGS",
    "12-template": "EnvironmentFile=%h/.config/llama/instances/%i.env\nExecStart=/opt/llama/bin/llama-server -m ${MODEL} --port 80%i",
    "wrapper-with-port": "ExecStart=/usr/local/bin/start-llama --port 8088",
    "docker-compose": "ExecStart=/usr/bin/docker compose up",
    "shell-if": "ExecStart=/bin/sh -c 'if true; then exec /opt/llama/bin/llama-server --port 8088; fi'",
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("05-bash-c", "shell wrapper in"),
        ("05-bash-c", "source /opt/llama/env.sh"),
        ("06-wrapper", "the script /usr/local/bin/llama-server-wrapper.sh"),
        ("08-envfile", "EnvironmentFile=/etc/llama/26b.env"),
        ("12-template", "%i"),
        ("12-template", "instances/"),
        ("wrapper-with-port", "start-llama"),
        ("docker-compose", "docker compose"),
        ("shell-if", "`if`"),
    ],
)
def test_what_hides_the_port_is_named(bench, name, said):
    (bench.units / UNIT).write_text(f"[Service]\n{INPUT_11[name]}\n")
    judgement = verdict("AUD-4", unit_file(subject(bench)))
    assert judgement.verdict is Verdict.BLOCKED
    assert said in judgement.reason
    assert "None" not in judgement.reason


@pytest.mark.parametrize(
    "text",
    [
        "Environment=LLAMA_ARG_PORT=18795\nExecStart=/opt/llama/bin/llama-server -m /models/x.gguf",
        'ExecStart=/opt/llama/bin/llama-server -m /m/a.gguf -ot "blk\\.([0-9]|1[01])\\.ffn_.*_exps\\.=CPU" --port 18795',
        "Environment=P=18795\nExecStart=/opt/llama/bin/llama-server --port ${P}",
        "Environment=LLAMA_OPTS='--port 18795'\nExecStart=/bin/sh -c 'exec /opt/llama/bin/llama-server $LLAMA_OPTS'",
        "EnvironmentFile=/not/there\nExecStart=/opt/llama/bin/llama-server --port 18795",
        "ExecStart=/usr/bin/podman run -p 18795:8080 ghcr.io/x/llama:server -m /m/a.gguf",
        "ExecStart=/usr/bin/docker run --network=host -e LLAMA_ARG_PORT=18795 ghcr.io/x/llama:server",
        "ExecStart=/opt/wrong --port 1\nExecStart=\nExecStart=/opt/llama/bin/llama-server --port 18795",
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "bom"])
def test_the_port_is_seen(bench, text, mark):
    """Inputs 10 and 11: units that systemd reads, and this suite did not."""
    (bench.units / UNIT).write_text(f"{mark}[Service]\n{text}\n", encoding="utf-8")
    assert verdict("AUD-4", unit_file(subject(bench))).verdict is Verdict.PASS


def test_a_port_of_the_container_that_is_not_published(bench):
    bench.install("/usr/bin/podman run -p 18795:9999 ghcr.io/x/llama:server -m /m/a.gguf", {})
    judgement = verdict("AUD-4", unit_file(subject(bench)))
    assert judgement.verdict is Verdict.FAIL
    assert "serves no port of this host" in judgement.reason


def test_a_port_in_a_dropin_counts(bench):
    bench.install(bench.line(), POLICY)
    bench.dropin("ExecStart=\nExecStart=/opt/llama/bin/llama-server --port 9999")
    judgement = verdict("AUD-4", unit_file(subject(bench)))
    assert judgement.verdict is Verdict.FAIL
    assert "serves port 9999" in judgement.reason
    assert "81-x.conf:3" in judgement.reason


def test_the_answers_of_systemctl_are_read():
    told = loaded_of(
        "MainPID=7\nFragmentPath=/etc/a.service\nDropInPaths=/etc/a.d/1.conf /etc/a.d/2.conf\nNeedDaemonReload=yes\nLoadState=loaded"
    )
    assert told == Loaded(
        load_state="loaded",
        fragment="/etc/a.service",
        dropins=("/etc/a.d/1.conf", "/etc/a.d/2.conf"),
        needs_reload=True,
        active_state="",
        pid=7,
    )
    assert variables_of("LANG=C\nA=x=y\nB=$'a b'\n") == {"LANG": "C", "A": "x=y"}


def test_a_process_that_is_gone_or_hidden_proves_nothing(bench, prove):
    bench.install(bench.line())
    _, judgement = prove(loaded(bench, active_state="active", pid=2**22 - 1))
    assert judgement.verdict is Verdict.BLOCKED
    assert f"pid {2**22 - 1}, which systemd says runs the unit, cannot be read" in judgement.reason


def test_an_ordinary_word_in_a_program_is_no_variable_that_it_reads(tmp_path):
    """A CI's `CI=true` made another server of an attached one, because libllama-bench holds that word."""
    program = tmp_path / "llama-server"
    program.write_bytes(b"\x7fELF\0CI\0TERM\0MY_FORK_MODE\0")
    assert measured.reads_variable([program], "MY_FORK_MODE")
    assert not measured.reads_variable([program], "MY_FORK")
    assert not measured.reads_variable([program], "CI")
