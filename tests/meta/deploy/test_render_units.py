"""`--render-units` as its users call it: the report's four RC units, each valid and on its port with its policies, and what refuses."""

import shlex
import shutil
import stat
import subprocess

import pytest
from support import child_session

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.deploy.comparison import port_of_unit
from fixtures.deploy.gpu_hiding import gpu_hiding
from fixtures.deploy.installed import unit_by_files
from fixtures.deploy.settings import settings_of
from fixtures.deploy.verify import verify_unit
from fixtures.deploy.watch_units import WATCH
from fixtures.engine.command_env import NO_GRAPHS
from fixtures.models.twins import ensure_twin

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here"),
]

DGX = load_host("dgx", bare=True)
TWINS = {"gemma4-31b": "twin60", "gemma4-26b": "twin30", "gemma4-e4b": "twin42"}
PURE_MODE = "PURE_FOR_THIS_TEST"
# unit -> (port, pure mode), as the report's table "Services and ports" has them; all are without graphs
REPORTED = {
    "llama-gemma4-31b-fullt3-mtp-rc.service": (8090, True),
    "llama-gemma4-26b-k3v4-mtp-rc.service": (8088, False),
    "llama-gemma4-e4b-fullt3-mtp-rc.service": (8089, True),
    "llama-gemma4-e4b-k3v4-mtp-rc.service": (8093, False),
}
OVERLAY = """\
[engine]
recipe = "pinned+tbq"
preset = "cpu"
pure_mode_env = "{pure}=1"
[launch]
context = 8192
[guard]
lock = "{folder}/run.lock"
competing = [{{ name = "asr", process = "asr", max_cpu_pct = 50 }}]
[units]
directory = "{folder}/units"
scope = "system"
user = "llama"
"""


def write_overlay(folder):
    """A private overlay of host dgx, complete but for what a unit does not show: small models stand in for the real ones."""
    text = OVERLAY.format(folder=folder, pure=PURE_MODE)
    for model, twin in TWINS.items():
        made = ensure_twin(twin, "scripted")
        text += f'[models.{model}]\ntarget.path = "{made.target}"\ndrafter.path = "{made.drafter}"\n'
    file = folder / "dgx.toml"
    file.write_text(text)
    return file


def render(folder, into, *args, overlay="dgx.toml"):
    """(exit status, output) of a session that renders into `folder`/`into`."""
    given = [f"--overlay={folder / overlay}"] if overlay else []
    session = child_session.start("dgx", folder / "reports", *given, f"--render-units={folder / into}", *args)
    code = session.wait()
    assert not list((folder / "reports").iterdir()), "a rendering is no run"
    return code, session.output


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The folder of a host dgx with its overlay and what was rendered of it, and what was said."""
    folder = tmp_path_factory.mktemp("dgx")
    write_overlay(folder)
    code, output = render(folder, "made/units")
    assert code == 0, output
    return folder, output


def text_of(folder, name):
    return (folder / "made/units" / name).read_text()


def test_all_units_and_the_timer_are_written_and_nothing_is_installed(rendered):
    folder, output = rendered
    made = folder / "made/units"
    assert {file.name for file in made.iterdir()} == {*REPORTED, f"{WATCH}.service", f"{WATCH}.timer"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in made.iterdir()} == {0o644}
    assert not (folder / "units").exists()
    assert "26b-k3v3 has no `unit`" in output
    assert "31b-k3v4 has no `unit`" in output


@pytest.mark.parametrize("unit", REPORTED)
def test_a_unit_of_the_report_is_valid(rendered, unit):
    folder, _ = rendered
    found = verify_unit(text_of(folder, unit), unit, scope="system")
    assert found.stderr == ()
    assert found.ok
    assert found.exposure < 2.5


@pytest.mark.parametrize("unit", REPORTED)
def test_a_unit_of_the_report_waits_for_health_restarts_and_sees_the_gpu(rendered, unit):
    folder, _ = rendered
    settings = settings_of(text_of(folder, unit), unit)
    values = {each.key: each.value for each in settings}
    assert gpu_hiding(settings) == ()
    assert (values["Type"], values["Restart"], values["User"]) == ("exec", "on-failure", "llama")
    assert f":{REPORTED[unit][0]}/health" in values["ExecStartPost"]
    assert int(values["TimeoutStartSec"]) > DGX.launch.ready_timeout_s
    assert int(values["TimeoutStopSec"]) > 0
    assert int(values["RestartSec"]) > 0


@pytest.mark.parametrize(("unit", "expected"), REPORTED.items())
def test_a_unit_of_the_report_has_its_port_and_policies(rendered, unit, expected):
    """Read back as an installed unit is, by meaning."""
    folder, _ = rendered
    port, pure = expected
    read = unit_by_files(unit, Units(directory=str(folder / "made/units"), scope="system")).engine
    assert read.command.faults == read.command.hidden == []
    assert port_of_unit(read) == port
    assert (NO_GRAPHS in read.command.env, PURE_MODE in read.command.env) == (True, pure)
    (candidate,) = [each for each in DGX.candidates if each.unit == unit]
    assert (candidate.port, candidate.policy.no_graphs, candidate.policy.pure_mode) == (port, True, pure)


def test_the_commands_to_install_them_are_told_word_for_word(rendered):
    folder, output = rendered
    lines = [line.strip() for line in output.splitlines()]
    (install,) = [shlex.split(line) for line in lines if line.startswith("sudo install")]
    assert install[:6] == ["sudo", "install", "-m", "644", "-t", str(folder / "units")]
    assert set(install[6:]) == {str(file) for file in (folder / "made/units").iterdir()}
    assert lines.index(shlex.join(install)) + 1 == lines.index("sudo systemctl daemon-reload")
    assert f"sudo systemctl enable --now {WATCH}.timer" in lines


def test_the_watch_looks_again_by_itself_and_can_restart_nothing(rendered):
    folder, _ = rendered
    settings = settings_of(text_of(folder, f"{WATCH}.service"), "watch")
    values = {each.key: each.value for each in settings}
    assert values["Type"] == "oneshot"
    assert values["User"] == "llama"
    assert int(values["TimeoutStartSec"]) > 0
    program, *words = shlex.split(values["ExecStart"])
    assert program.endswith("/readiness")
    assert words == ["watch", "--host", "dgx", f"--overlay={folder / 'dgx.toml'}", f"--reports={folder / 'reports'}"]
    assert f"-{folder / 'reports'}" in values["ReadWritePaths"].split()
    assert [each.key for each in settings if each.key.startswith("Exec")] == ["ExecStart"]
    assert not {"Restart", "PrivateDevices", "ProtectClock", "ProtectProc"} & values.keys()


def test_systemd_takes_service_and_timer_of_the_watch(rendered, tmp_path):
    folder, _ = rendered
    program = tmp_path / "readiness"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    start = next(line for line in text_of(folder, f"{WATCH}.service").splitlines() if line.startswith("ExecStart="))
    for name in (f"{WATCH}.service", f"{WATCH}.timer"):
        (tmp_path / name).write_text(text_of(folder, name).replace(start, f"ExecStart={program} watch"))
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    for name in (f"{WATCH}.service", f"{WATCH}.timer"):
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_same_again_changes_nothing_and_other_files_are_not_overwritten(rendered):
    folder, _ = rendered
    shutil.copytree(folder / "made/units", folder / "again")
    unit = folder / "again" / "llama-gemma4-26b-k3v4-mtp-rc.service"
    code, output = render(folder, "again", "-k", "26b-k3v4")
    assert code == 0
    assert output.count("(as before)") == 3
    mine = unit.read_text().replace("Restart=on-failure", "Restart=always")
    unit.write_text(mine)
    (folder / "again" / f"{WATCH}.timer").unlink()
    code, output = render(folder, "again", "-k", "26b-k3v4")
    assert code == 1
    assert "-Restart=always" in output
    assert "+Restart=on-failure" in output
    assert "nothing was written" in output
    assert unit.read_text() == mine
    assert not (folder / "again" / f"{WATCH}.timer").exists()


def test_a_link_is_not_followed(rendered):
    folder, _ = rendered
    made, victim = folder / "linked", folder / "victim"
    made.mkdir()
    (made / f"{WATCH}.timer").symlink_to(victim)
    code, output = render(folder, "linked", "-k", "26b-k3v4")
    assert code == 1
    assert "is there and is no plain file" in output
    assert not victim.exists()


def test_the_folder_that_systemd_reads_is_refused(rendered):
    folder, _ = rendered
    code, output = render(folder, "units", "-k", "26b-k3v4")
    assert code == 4
    assert "nothing is installed by this suite" in output
    assert not (folder / "units").exists()


def test_missing_keys_are_one_message(rendered):
    folder, _ = rendered
    (folder / "part.toml").write_text('[units]\ndirectory = "/x"\nscope = "system"\nuser = "llama"\n')
    code, output = render(folder, "none", "-k", "31b-k3v3", overlay="part.toml")
    assert code == 75
    (line,) = [line for line in output.splitlines() if "missing key" in line]
    for key in ("engine.recipe", "engine.pure_mode_env", "models.gemma4-31b.target.path", "launch.context"):
        assert f"`{key}`" in line
    assert "models.gemma4-26b" not in line
    assert not (folder / "none").exists()


def test_without_an_engine_it_says_so_and_builds_none(rendered):
    folder, _ = rendered
    text = (folder / "dgx.toml").read_text()
    (folder / "unbuilt.toml").write_text(text.replace('preset = "cpu"', 'preset = "cpu"\noptions = { NO_SUCH_OPTION = "1" }'))
    code, output = render(folder, "none", "-k", "26b-k3v4", overlay="unbuilt.toml")
    assert code == 75
    assert "the engine is not built yet" in output
    assert not (folder / "none").exists()


def test_a_selection_without_a_unit_is_told(rendered):
    folder, _ = rendered
    code, output = render(folder, "none", "-k", "31b-k3v4")
    assert code == 4
    assert "no candidate of host dgx that has a `unit` is selected" in output


# -- the fallback: its unit comes from a backup, and the report tells nothing of its lane that a unit could be rendered from

LEGACY = """\
[Unit]
Description=llama.cpp Gemma 4 26B
After=network-online.target
Wants=network-online.target

[Service]
Type=simple
User=llama
WorkingDirectory=/srv/llama
EnvironmentFile=-/etc/default/llama-gemma4-26b
Environment=LD_LIBRARY_PATH=/srv/llama/build/bin
Environment="LLAMA_PORT={port}"
ExecStart=/srv/llama/build/bin/llama-server \\
    -m /srv/models/gemma-4-26b-a4b-q4_k_m.gguf \\
    --host 0.0.0.0 --port ${{LLAMA_PORT}} \\
    -c 8192 -ngl 99 -fa on --jinja
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target
"""


@pytest.mark.parametrize("port", [8080, 8081])
def test_the_fallbacks_legacy_unit_is_read_and_its_port_is_the_recorded_one(tmp_path, port):
    (tmp_path / DGX.fallback.unit).write_text(LEGACY.format(port=port))
    read = unit_by_files(DGX.fallback.unit, Units(directory=str(tmp_path), scope="system")).engine
    assert read.command.hidden == read.command.faults == []
    assert read.command.argv[0] == "/srv/llama/build/bin/llama-server"
    assert (port_of_unit(read) == DGX.ports.watch[DGX.fallback.watch]) == (port == 8080)


def test_a_dropin_can_move_the_fallback_and_is_seen(tmp_path):
    (tmp_path / DGX.fallback.unit).write_text(LEGACY.format(port=8080))
    dropin = tmp_path / f"{DGX.fallback.unit}.d" / "port.conf"
    dropin.parent.mkdir()
    dropin.write_text("[Service]\nEnvironment=LLAMA_PORT=8090\n")
    read = unit_by_files(DGX.fallback.unit, Units(directory=str(tmp_path), scope="system")).engine
    assert port_of_unit(read) == 8090
    assert read.command.places["LLAMA_PORT"] == f"{dropin}:2"
