"""A fallback brought back on a real systemd: by approval only, rolled back where it does not answer, and whole after every kill."""

import json

import pytest
from support.deploy_ground import APPROVE, FALLBACK, FALLBACK_PORT, GOOD, UNITS, Ground, shown
from support.places import ROOT
from support.systemd_container import booted

pytestmark = [pytest.mark.long, pytest.mark.runtime]

BLOCKED, FAILED, DONE = 75, 1, 0
UNIT, OVERRIDE = f"{UNITS}/{FALLBACK}", f"{UNITS}/{FALLBACK}.d/10-owner.conf"
STATE = "/var/lib/llama-readiness"

# kills itself after each step that a restore makes on disk, in a child each; then brings the old state back, as `--recover` does
KILLED = """
import json, os, signal, sys
from pathlib import Path
from fixtures.catalog.load import load_host
from fixtures.deploy.journal import unfinished
from fixtures.deploy.restore_plan import plan_restore
from fixtures.deploy.systemctl import Systemctl
from fixtures.operate import restoring, swap
from fixtures.records.operation import Approval
host = load_host(sys.argv[1])
files = [Path(name) for name in sys.argv[2:]]
ann, fallback = Approval(who="Ann", reason="a meta test kills it"), host.fallback
old = [file.read_text() for file in files]
def killed_after(steps):
    child = os.fork()
    if child == 0:
        renamed, seen = swap._renamed, []
        def counted(*given):
            renamed(*given)
            seen.append(given)
            if len(seen) == steps:
                os.kill(os.getpid(), signal.SIGKILL)
        swap._renamed = counted
        restoring.restore(host, plan_restore(fallback, host.units, host.ports.watch["fallback"]), ann, str)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
for steps in range(1, 99):
    if not killed_after(steps):
        break
    left = unfinished(fallback.unit, "system")
    now = [file.read_text() for file in files]
    trouble = restoring.recover(host, *left, ann) if left else ""
    state = Systemctl("system").active_state(fallback.unit)
    same = [file.read_text() for file in files] == old
    print(json.dumps({"steps": steps, "step": left and left[1].step, "changed": [a != b for a, b in zip(old, now)], "old": same,
                      "trouble": trouble, "state": state}), flush=True)
    if left is None and all(a != b for a, b in zip(old, now)):
        break  # it had ended well: all is new
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    bind = tmp_path_factory.mktemp("restore")
    with booted(bind, shown=shown(), alone=True) as container:
        ground = Ground(container, bind)
        ground.set_up()
        yield ground


@pytest.fixture
def changed(ground):
    """The owner has changed the fallback since its backup: it still runs as it was started."""
    before = {place: ground.container.path(place).read_text() for place in (UNIT, OVERRIDE)}
    ground.write(UNIT, before[UNIT].replace("-c 512", "-c 768"))
    ground.write(OVERRIDE, "[Service]\nNice=7\n")
    ground.systemctl("daemon-reload")
    yield ground
    for place, text in before.items():
        ground.write(place, text)
    ground.systemctl("daemon-reload")


def everything(ground):
    return [ground.tree(place) for place in ("/etc", "/srv", "/opt", STATE)], ground.machine(), ground.pid(FALLBACK)


def answers(ground):
    asked = ("curl", "-fsS", "-m", "60", f"http://127.0.0.1:{FALLBACK_PORT}/completion", "-d", '{"prompt": "Hi", "n_predict": 1}')
    return json.loads(ground.container.run(*asked).stdout)["tokens_predicted"] == 1


def test_the_dry_run_changes_nothing(changed):
    before = everything(changed)
    done = changed.readiness("restore")
    assert done.returncode == DONE, done.stdout
    for each in (
        "dry run, nothing is changed",
        UNIT,
        OVERRIDE,
        "-c 768",
        f"systemctl restart {FALLBACK}",
        "--execute --approve 'WHO: REASON'",
    ):
        assert each in done.stdout
    assert everything(changed) == before


def test_nothing_is_restored_without_approval(changed):
    before = everything(changed)
    assert changed.readiness("restore", "--execute").returncode == BLOCKED
    assert changed.readiness("restore", "--execute", "--approve", "Ann").returncode not in (DONE, FAILED)
    assert everything(changed) == before


def test_nothing_is_restored_while_a_run_holds_the_lock(changed):
    before = everything(changed)
    holder = changed.background("flock", str(changed.bind / "run.lock"), "sleep", "100")
    try:
        changed.wait_until(lambda: changed.container.run("flock", "-n", str(changed.bind / "run.lock"), "true").returncode != 0)
        done = changed.readiness("restore", "--execute", *APPROVE)
    finally:
        changed.end(holder)
    assert done.returncode == BLOCKED, done.stdout
    assert "is held by pid" in done.stdout
    assert everything(changed) == before


def test_a_kill_at_each_step_leaves_the_old_state_or_what_brings_it_back(changed):
    pid = changed.pid(FALLBACK)
    done = changed.run(f"{ROOT}/.venv/bin/python", "-c", KILLED, str(changed.host), UNIT, OVERRIDE, cwd=str(ROOT))
    tried = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(tried) >= 6, done.stdout
    for each in tried:
        assert each["old"] is True or each == tried[-1]
        assert each["trouble"] == ""
        assert each["state"] == "active"
    assert [True, False] in [each["changed"] for each in tried] or [False, True] in [each["changed"] for each in tried]
    assert [True, True] in [each["changed"] for each in tried]
    assert {each["step"] for each in tried} >= {None, "prepared", "swapped"}
    assert changed.pid(FALLBACK) != pid
    assert answers(changed)


def test_what_was_backed_up_comes_back(changed):
    done = changed.readiness("restore", "--execute", *APPROVE)
    assert done.returncode == DONE, done.stdout
    assert "-c 512" in changed.container.path(UNIT).read_text()
    assert changed.container.path(OVERRIDE).read_text() == "[Service]\nNice=5\n"
    assert answers(changed)
    record, judgement = changed.newest("DEP-11", "good")
    assert judgement["verdict"] == "PASS"
    assert record["measured"]["restored"] is True
    assert record["raw"]["operation"]["who"] == "Ann"
    assert changed.state(GOOD) == "inactive"


def source(ground, old, new):
    """A unit file of another place that says nothing of an environment file, with one word changed."""
    text = ground.container.path(UNIT).read_text().replace("EnvironmentFile=/etc/llama/legacy.env\n", "")
    assert old in text
    ground.write(f"/srv/{FALLBACK}", text.replace("${PORT}", str(FALLBACK_PORT)).replace(old, new))
    return "--source", f"/srv/{FALLBACK}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("/opt/llama/models/target.gguf", "/srv/missing.gguf", "/srv/missing.gguf"), ("llama-server", "llama-serv", "llama-serv")],
    ids=["model", "program"],
)
def test_what_cannot_start_is_refused_before_anything_is_done(changed, old, new, words):
    given = source(changed, old, new)
    before = everything(changed)
    done = changed.readiness("restore", "--execute", *given, *APPROVE)
    assert done.returncode == FAILED, done.stdout
    assert words in done.stdout
    assert "nothing was changed" in done.stdout
    assert everything(changed) == before


def test_a_fallback_that_does_not_load_its_model_is_rolled_back(changed):
    changed.container.ask("sh", "-c", "head -c 40000 /opt/llama/models/target.gguf > /srv/broken.gguf")
    given = source(changed, "/opt/llama/models/target.gguf", "/srv/broken.gguf")
    files = changed.tree("/etc")
    done = changed.readiness("restore", "--execute", *given, *APPROVE)
    assert done.returncode == FAILED, done.stdout
    assert "rolled back: the old files are in place, the service is active as before" in done.stdout
    assert changed.tree("/etc") == files
    assert changed.state(FALLBACK) == "active"
    assert answers(changed)
