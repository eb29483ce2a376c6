"""The rendered timer and its service on a real systemd: it runs as the host's user, writes where it must and nowhere else."""

import json
import shutil
import time

import pytest
from support.systemd_container import booted

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.deploy.watch_units import WATCH, render_watch

pytestmark = [pytest.mark.runtime, pytest.mark.long]

DEADLINE_S = 60
# stands for `./readiness`: says as whom it runs, what it was told, and which folders take a file
PROBE = """\
#!/bin/sh
cd "$(dirname "$0")"
took=
for folder in reports lock /srv/open /tmp /usr /home/llama; do touch "$folder/probe" 2>/dev/null && took="$took \\"$folder\\","; done
others=$(ls /proc | grep -c '^1$')
printf '{"user": "%s", "words": "%s", "took": [%s], "sees_others": %s}' "$(id -un)" "$*" "${took%,}" "$others" > reports/said.json
"""


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    bind = tmp_path_factory.mktemp("watch")
    bind.chmod(0o755)
    for name in ("reports", "lock"):
        (bind / name).mkdir()
        (bind / name).chmod(0o777)
    program = bind / "readiness"
    program.write_text(PROBE)
    program.chmod(0o755)
    host = load_host("dgx", bare=True).model_copy(update={"units": Units(directory="/etc/systemd/system", scope="system", user="llama")})
    for name, text in render_watch(host, program, ["--host=dgx"], [bind / "reports", bind / "lock"]).items():
        (bind / name).write_text(text)
    with booted(bind) as machine:
        machine.ask("useradd", "--create-home", "llama")
        machine.ask("mkdir", "-m", "777", "/srv/open")  # to everybody but the service
        machine.ask("install", "-m", "644", "-t", "/etc/systemd/system", str(bind / f"{WATCH}.service"), str(bind / f"{WATCH}.timer"))
        machine.ask("systemctl", "daemon-reload")
        yield machine, bind


def show(machine, unit, *names):
    told = machine.ask("systemctl", "show", unit, f"--property={','.join(names)}")
    return dict(line.split("=", 1) for line in told.splitlines())


def test_the_service_runs_locked_in_and_as_the_hosts_user(container):
    machine, bind = container
    machine.ask("systemctl", "start", f"{WATCH}.service")
    state = show(machine, f"{WATCH}.service", "Result", "ExecMainStatus", "NRestarts", "ActiveState")
    assert state == {"Result": "success", "ExecMainStatus": "0", "NRestarts": "0", "ActiveState": "inactive"}
    said = json.loads((bind / "reports" / "said.json").read_text())
    folders = ["reports", "lock", "/tmp"]  # noqa: S108 - what the probe wrote to
    assert said == {"user": "llama", "words": "watch --host=dgx", "took": folders, "sees_others": 1}


def test_the_timer_starts_it_by_itself(container):
    """Enabled after the machine has been up for a while, or before: it is due at the latest ten minutes after boot."""
    machine, bind = container
    (bind / "reports" / "said.json").unlink(missing_ok=True)
    dropin = machine.path(f"/etc/systemd/system/{WATCH}.timer.d/soon.conf")
    dropin.parent.mkdir()
    dropin.write_text("[Timer]\nOnBootSec=1\nRandomizedDelaySec=0\n")
    machine.ask("systemctl", "daemon-reload")
    machine.ask("systemctl", "enable", "--now", f"{WATCH}.timer")
    deadline = time.monotonic() + DEADLINE_S
    while not (bind / "reports" / "said.json").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (bind / "reports" / "said.json").exists()
    assert show(machine, f"{WATCH}.timer", "ActiveState")["ActiveState"] == "active"


def test_a_watch_that_fails_is_a_failed_unit_and_restarts_nothing(container):
    machine, bind = container
    good = bind / "readiness"
    shutil.copy(good, bind / "kept")
    good.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(AssertionError):
        machine.ask("systemctl", "start", f"{WATCH}.service")
    state = show(machine, f"{WATCH}.service", "Result", "NRestarts", "ActiveState")
    assert state == {"Result": "exit-code", "NRestarts": "0", "ActiveState": "failed"}
    shutil.copy(bind / "kept", good)
