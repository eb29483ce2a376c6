"""A restore as people run it, of a fallback that is a real llama-server: refused, done, rolled back, killed and recovered."""

import fcntl
import os
import signal
import time

import pytest
from support.operated import APPROVE, UNIT, Operated

pytestmark = pytest.mark.runtime

PORT = 18870


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    made = Operated(tmp_path_factory.mktemp("machine"), PORT)
    made.place = made.back_up()
    made.good = made.tree()
    yield made
    made.stop()


@pytest.fixture
def changed(machine):
    """Another state than the backed-up one, and nothing runs."""
    machine.stop()
    machine.refuse()
    machine.write_script(machine.model)
    (machine.units / UNIT).write_text(f"[Service]\nExecStart={machine.script} --alias other\n")
    machine.old = machine.tree()
    return machine


def test_no_test_run_starts_it(changed):
    status, output = changed.gates()
    assert status == 75, output
    assert "2 passed, 1 skipped" in output
    assert f"the fallback {UNIT} does not run (inactive): restore it, which needs an explicit approval" in output
    assert changed.asked() == []
    assert changed.tree() == changed.old


def test_the_dry_run_changes_nothing(changed):
    status, output = changed.readiness("restore")
    assert status == 0, output
    assert "-ExecStart=" in output
    assert f"systemctl --user restart {UNIT}" in output
    assert changed.tree() == changed.old
    assert changed.asked() == []
    assert changed.journal() is None or changed.journal()["step"] in ("done", "rolled back")


@pytest.mark.parametrize(("more", "status"), [((), 75), (("--approve", "Ann"), 4), (("--approve", ": because of the candidate"), 4)])
def test_it_is_refused_without_an_approval_by_name_and_with_a_reason(changed, more, status):
    assert changed.readiness("restore", "--execute", *more)[0] == status
    assert changed.tree() == changed.old
    assert changed.asked() == []


def test_it_is_refused_while_somebody_holds_the_lock(changed):
    with (changed.folder / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, output = changed.readiness("restore", "--execute", *APPROVE)
    assert status == 75, output
    assert f"held by pid {os.getpid()}" in output
    assert changed.tree() == changed.old
    assert changed.asked() == []


def test_it_is_restored_and_the_next_runs_see_it(changed):
    status, output = changed.readiness("restore", "--execute", *APPROVE)
    assert status == 0, output
    assert changed.tree() == changed.good
    assert changed.asked() == ["daemon-reload", f"restart {UNIT}"]
    record = changed.record("DEP-11")
    assert record["measured"] | {"restored": True, "tokens": 1, "health_status": 200, "state": "active"} == record["measured"]
    assert record["raw"]["operation"] == {"name": "restore", "who": "Ann", "reason": "the candidate is withdrawn"}
    status, output = changed.gates()
    assert (status, changed.record("DEP-11")["measured"]["restored"]) == (0, False), output
    assert changed.record("DEP-11")["raw"]["restored_by"]["who"] == "Ann"
    assert len(changed.asked()) == 2
    changed.stop()
    assert changed.gates("--from-ledger")[0] == 75, "a fallback that has stopped since does not answer"


@pytest.mark.long
def test_a_fallback_that_is_not_the_backed_up_one_is_seen(changed):
    assert changed.readiness("restore", "--execute", *APPROVE)[0] == 0
    (changed.units / UNIT).write_text((changed.units / UNIT).read_text() + "Nice=5\n")
    status, output = changed.gates()
    assert status == 1
    assert "is not as backed up" in output


@pytest.mark.long
def test_one_that_does_not_answer_is_rolled_back_to_what_ran_before(changed):
    """The backed-up unit's model is damaged: it starts and dies. What ran before runs again."""
    changed.write_script(changed.folder / "live" / "models" / "other.gguf")
    (changed.folder / "live" / "models" / "other.gguf").symlink_to(changed.model.resolve())
    whole = changed.model.readlink()
    changed.model.unlink()
    changed.model.write_bytes(b"GGUF" + b"\0" * 100)
    try:
        changed.restart()
        old = changed.tree()
        status, output = changed.readiness("restore", "--execute", *APPROVE)
        assert status == 1, output
        assert "rolled back: the old files are in place, the service is active as before" in output
        assert changed.tree() == old
        assert changed.state() == "active"
        assert changed.journal()["step"] == "rolled back"
    finally:
        changed.model.unlink()
        changed.model.symlink_to(whole)
        (changed.folder / "live" / "models" / "other.gguf").unlink()


@pytest.mark.long
def test_what_a_kill_has_left_is_told_and_brought_back(changed):
    process = changed.start("restore", "--execute", *APPROVE)
    deadline = time.monotonic() + 120
    while (changed.journal() or {}).get("step") not in ("swapped", "restarted") and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert changed.journal()["step"] in ("swapped", "restarted")
    for words in (("restore",), ("restore", "--execute", *APPROVE)):
        status, output = changed.readiness(*words)
        assert status == 1
        assert "was cut off" in output
        assert "--recover" in output
    assert changed.readiness("restore", "--recover")[0] == 75
    status, output = changed.readiness("restore", "--recover", *APPROVE)
    assert status == 0, output
    assert changed.tree() == changed.old
    assert changed.state() == "inactive"
    assert "nothing was changed" in changed.readiness("restore", "--recover", *APPROVE)[1]


@pytest.mark.long
def test_a_systemd_that_will_not_start_it(changed):
    changed.refuse("restart")
    status, output = changed.readiness("restore", "--execute", *APPROVE)
    assert status == 1
    assert "refused by the test" in output
    assert changed.tree() == changed.old


def test_a_model_that_is_gone_is_met_before_anything_changes(changed):
    whole = changed.model.readlink()
    changed.model.unlink()
    old = changed.tree()
    try:
        status, output = changed.readiness("restore", "--execute", *APPROVE)
    finally:
        changed.model.symlink_to(whole)
    assert status == 1
    assert "good.gguf, which the backed-up unit serves, is not on this machine" in output
    assert changed.asked() == []
    assert old == {name: told for name, told in changed.old.items() if not name.endswith("good.gguf")}
