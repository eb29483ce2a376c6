"""The whole way on a real systemd: a fallback that answers, candidates that are started, asked and stopped, and what breaks them."""

import json
import threading
import time

import pytest
from support.deploy_ground import APPROVE, ENGINE, FALLBACK, GOOD, GOOD_PORT, OTHER, UNITS, Ground, shown
from support.places import ROOT
from support.systemd_container import booted

from fixtures.deploy.watch_units import WATCH

pytestmark = [pytest.mark.long, pytest.mark.runtime]

KILL = ("--kill-main", "Ann: a meta test kills it")
BLOCKED, FAILED, DONE = 75, 1, 0


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    bind = tmp_path_factory.mktemp("ground")
    with booted(bind, shown=shown(), alone=True) as container:
        ground = Ground(container, bind)
        ground.set_up()
        ground.etc = ground.tree("/etc")
        yield ground


@pytest.fixture(scope="module")
def coherent(ground):
    """With evidence that the good candidate is coherent, as its gates launch it."""
    done = ground.pytest("-m", "coherence", "-k", "good", "-q")
    assert done.returncode == DONE, done.stdout
    return ground


@pytest.fixture(scope="module")
def smoked(coherent):
    """The good candidate's unit was started, asked and stopped, by approval."""
    before = coherent.machine()
    coherent.last = coherent.readiness("smoke", "good", *APPROVE)
    assert coherent.machine() == before
    return coherent


@pytest.fixture(scope="module")
def signed_off(smoked):
    """The good candidate is READY, and promoted: its owner has started its unit."""
    smoked.pytest("--signoff", "-k", "good", "-q")
    smoked.systemctl("start", GOOD)
    yield smoked
    smoked.systemctl("stop", GOOD)


@pytest.fixture
def as_before(ground):
    """Whatever is planted and tried, the machine is the same afterwards: states, processes, ports, lock."""
    before = ground.machine()
    yield
    for unit in (GOOD, OTHER):
        ground.without_dropin(unit)
    assert ground.machine() == before
    assert ground.tree("/etc") == ground.etc


def says(done, status, *words):
    assert done.returncode == status, done.stdout
    for each in words:
        assert each in done.stdout, done.stdout
    return True


# -- before anything is started


def test_nothing_is_started_before_coherence_is_proven(ground, as_before):
    done = ground.readiness("smoke", "good", *APPROVE)
    assert says(done, BLOCKED, "COH-1 zh_marker is BLOCKED, must be PASS", "COH-1 repeat_line is BLOCKED", "nothing was started")


def test_the_plan_says_what_will_happen_and_changes_nothing(coherent, as_before):
    tree = coherent.tree("/var/lib/llama-readiness"), sorted(coherent.reports.iterdir())
    done = coherent.readiness("smoke", "good")
    assert says(
        done, DONE, f"systemctl start {GOOD}", "COH-1 zh_marker, COH-1 repeat_line", "nothing was changed; to do it: ./readiness smoke"
    )
    assert "missing" not in done.stdout
    assert (coherent.tree("/var/lib/llama-readiness"), sorted(coherent.reports.iterdir())) == tree


def test_without_a_fallback_that_answers_nothing_is_started(coherent):
    coherent.systemctl("stop", FALLBACK)
    try:
        assert says(coherent.readiness("smoke", "good", *APPROVE), BLOCKED, "DEP-11 is BLOCKED", FALLBACK, "nothing was started")
        assert coherent.state(GOOD) == "inactive"
    finally:
        coherent.systemctl("start", FALLBACK)


def test_one_candidate_at_a_time(coherent):
    coherent.systemctl("start", OTHER)
    try:
        pid = coherent.pid(OTHER)
        done = coherent.readiness("smoke", "good", *APPROVE)
        assert says(done, BLOCKED, f"{OTHER} of other is active: one release candidate at a time", "nothing was started")
        assert says(coherent.readiness("smoke", "other", *APPROVE), BLOCKED, f"{OTHER} is active already", "stops nothing")
        assert coherent.pid(OTHER) == pid
    finally:
        coherent.systemctl("stop", OTHER)


def test_a_port_of_somebody_elses_is_left_alone(coherent, as_before):
    server = coherent.background("python", "-m", "http.server", str(GOOD_PORT), "--bind", "127.0.0.1")
    try:
        coherent.wait_for_port(GOOD_PORT)
        assert says(coherent.readiness("smoke", "good", *APPROVE), BLOCKED, f"port {GOOD_PORT} is taken by python", "nothing was started")
    finally:
        coherent.end(server)


def test_the_lock_is_kept(coherent, as_before):
    holder = coherent.background("flock", str(coherent.bind / "run.lock"), "sleep", "100")
    try:
        coherent.wait_until(lambda: coherent.container.run("flock", "-n", str(coherent.bind / "run.lock"), "true").returncode != 0)
        assert says(coherent.readiness("smoke", "good", *APPROVE), BLOCKED, "lock", "is held by pid", "nothing was started")
    finally:
        coherent.end(holder)


# -- the smoke


def test_a_candidate_is_started_asked_and_stopped(smoked):
    assert says(smoked.last, DONE, "approved by Ann: a meta test starts and stops it")
    record, judgement = smoked.newest("DEP-12", "good")
    assert judgement["verdict"] == "PASS"
    assert f"2 prompts answered on port {GOOD_PORT}" in judgement["reason"]
    assert {part["requirement"] for part in record["raw"]["parts"]} == {"DEP-6", "STA-2", "KV-1", "COH-1", "STA-1"}
    assert record["raw"]["operation"]["who"] == "Ann"
    assert record["measured"]["start_s"] > 0
    assert (smoked.reports / record["run"] / "logs" / record["raw"]["log"]).read_text().count("listening on") == 1


def test_a_killed_service_comes_back(smoked, as_before):
    assert says(smoked.readiness("smoke", "good", *KILL), DONE)
    record, judgement = smoked.newest("DEP-13", "good")
    assert judgement["verdict"] == "PASS"
    assert record["measured"]["restart_sec_s"] == 5.0
    assert record["measured"]["restart_s"] >= 5.0
    assert record["measured"]["token"] is True


def exec_start(ground, unit, *changes):
    """A drop-in's ExecStart: the rendered one with some words changed."""
    text = ground.container.path(f"{UNITS}/{unit}").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    for old, new in changes:
        assert old in line
        line = line.replace(old, new)
    return f"ExecStart=\n{line}"


GARBAGE = ("/opt/llama/models/", "/opt/llama/garbage/")
ORPHAN = (f"ExecStart={ENGINE}/llama-server", f'ExecStart=/bin/sh -c \'sleep 987 & exec "$0" "$@"\' {ENGINE}/llama-server')
# words of ExecStart to change, further lines, and what the verdict must say
PLANTED = {
    "garbage": ([GARBAGE], "", ["COH-1 zh_marker: text check failed", "it serves another model, target.gguf, than"]),
    "another KV type": (
        [("-ctk tbq3_0", "-ctk q4_0")],
        "",
        ["KV-1: K was asked as tbq3_0 (3.125 bits per weight) and takes 4.5", "DEP-6: the unit has -ctk q4_0", "90-planted.conf:3"],
    ),
    "never healthy": (
        [],
        "ExecStart=\nExecStart=/bin/sleep 600\nTimeoutStartSec=4",
        ["did not start: `systemctl start", "(systemd: timeout)"],
    ),
    "orphan": ([ORPHAN], "KillMode=process", ["left running after the stop, to be ended by hand: pid", "(sleep)"]),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_broken_unit_is_red_and_stopped_again(smoked, as_before, fault):
    changes, more, words = PLANTED[fault]
    smoked.dropin(GOOD, f"{exec_start(smoked, GOOD, *changes)}\n{more}")
    done = smoked.readiness("smoke", "good", *APPROVE)
    smoked.end_named("sleep")
    assert done.returncode == FAILED, done.stdout
    _, judgement = smoked.newest("DEP-12", "good")
    assert judgement["verdict"] == "FAIL"
    for each in words:
        assert each in judgement["reason"]


def test_a_server_that_dies_at_the_second_prompt(smoked, as_before):
    """systemd starts it again meanwhile: the rest of the prompts is not asked of the new one."""
    since = smoked.container.ask("date", "+%s").strip()
    killer = threading.Thread(target=kill_at_second_task, args=(smoked, since), daemon=True)
    smoked.dropin(GOOD, "Nice=3")  # another identity: its failure is not that of the unit as it is promoted
    killer.start()
    done = smoked.readiness("smoke", "good", *APPROVE)
    killer.join(60)
    assert done.returncode == FAILED, done.stdout
    record, judgement = smoked.newest("DEP-12", "good")
    assert "COH-1 repeat_line: the unit's main process (pid" in judgement["reason"]
    assert "has ended (systemd says" in judgement["reason"]
    assert [part["requirement"] for part in record["raw"]["parts"]][-1] == "COH-1"


def kill_at_second_task(ground, since):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        said = ground.container.ask("journalctl", "--quiet", "-o", "cat", f"--unit={GOOD}", f"--since=@{since}")
        if said.count("processing task") >= 2:
            ground.systemctl("kill", "--kill-whom=main", "--signal=KILL", GOOD)
            return
        time.sleep(0.1)


# -- after promotion


def test_the_sign_off_holds(signed_off):
    pid = signed_off.pid(GOOD)
    done = signed_off.readiness("watch")
    assert says(done, DONE, " HOLDS\n", "engine, models, command, unit, machine as signed off", "holds the tested model", "a token in")
    assert signed_off.pid(GOOD) == pid


def test_a_drop_in_is_drift(signed_off):
    signed_off.dropin(GOOD, "Environment=GGML_CUDA_FORCE_MMQ=1")
    done = signed_off.readiness("watch")
    signed_off.without_dropin(GOOD)
    assert says(done, FAILED, "NO LONGER HOLDS since", "the installed unit (files, drop-ins", "90-planted.conf:2")


def test_an_edited_unit_is_drift_also_before_it_is_loaded(signed_off):
    file = signed_off.container.path(f"{UNITS}/{GOOD}")
    text = file.read_text()
    time.sleep(1.1)  # systemd tells a change by the second
    file.write_text(text.replace("-c 1024", "-c 2048"))
    done = signed_off.readiness("watch")
    file.write_text(text)
    signed_off.systemctl("daemon-reload")
    assert says(done, FAILED, "NO LONGER HOLDS since", "NeedDaemonReload")


def test_a_server_that_hangs_is_no_server(signed_off):
    signed_off.systemctl("kill", "--kill-whom=main", "--signal=STOP", GOOD)
    done = signed_off.readiness("watch", "--patience", "5s")
    signed_off.systemctl("kill", "--kill-whom=main", "--signal=CONT", GOOD)
    assert says(done, FAILED, "tokens: port", "does not answer", "(held at ")


def test_it_holds_again_and_every_look_is_on_record(signed_off):
    assert says(signed_off.readiness("watch"), DONE, " HOLDS\n")
    looks = [json.loads(line) for line in (signed_off.reports / "watch-ground.jsonl").read_text().splitlines()]
    assert [look["holds"] for look in looks] == [True, False, False, False, True]


def test_the_rendered_service_looks_by_itself(signed_off):
    """As the host's user and locked in, as `render-units` has written it: it says the same, and drift is a failed unit."""
    service = f"{WATCH}.service"
    signed_off.write(f"{UNITS}/{service}", (signed_off.bind / "rendered" / service).read_text())
    signed_off.dropin(service, "\n".join(f"Environment={name}={value}" for name, value in signed_off.own.items()))
    signed_off.container.ask("chown", "-R", "llama", str(signed_off.bind))
    signed_off.container.ask("chmod", "711", "/root")  # the Python of this machine may be below it
    assert signed_off.container.run("systemctl", "start", service).returncode == 0, signed_off.journal(service)
    assert " HOLDS" in signed_off.journal(service)
    signed_off.dropin(GOOD, "Environment=GGML_CUDA_FORCE_MMQ=1")
    failed = signed_off.container.run("systemctl", "start", service)
    signed_off.without_dropin(GOOD)
    assert failed.returncode != 0
    assert "NO LONGER HOLDS since" in signed_off.journal(service)
    assert signed_off.state(service) == "failed"


# -- nothing else was touched


def test_the_checkout_is_as_it_was(ground):
    assert ground.container.run("touch", f"{ROOT}/planted").returncode != 0
