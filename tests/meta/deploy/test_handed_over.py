"""Files for the owner to install: where they are not written, and the commands of a user's own manager."""

import pytest

from fixtures.catalog.host import Units
from fixtures.catalog.load import load_host
from fixtures.deploy.errors import DeployError
from fixtures.deploy.handed_over import FilesDiffer, NoPlaceForFiles, install_commands, no_health_client, timer_command, write_files
from fixtures.deploy.watch_units import render_watch

FILES = {"a.service": "[Service]\nExecStart=/bin/true\n", "b.timer": "[Timer]\nOnBootSec=1\n"}


@pytest.fixture
def units(tmp_path):
    return Units(directory=str(tmp_path / "units"), scope="user")


def test_files_are_written_once(tmp_path, units):
    folder = tmp_path / "new" / "folder"
    assert write_files(folder, FILES, units) == (folder / "a.service", folder / "b.timer")
    assert write_files(folder, FILES, units) == ()
    (folder / "b.timer").unlink()
    assert write_files(folder, FILES, units) == (folder / "b.timer",)


def test_one_that_differs_keeps_all_from_being_written(tmp_path, units):
    (tmp_path / "b.timer").write_text("[Timer]\nOnBootSec=2\n")
    with pytest.raises(FilesDiffer, match=r"-OnBootSec=2\n\+OnBootSec=1"):
        write_files(tmp_path, FILES, units)
    assert not (tmp_path / "a.service").exists()


@pytest.mark.parametrize("place", ["units", "link", "/etc/systemd/user", "file"])
def test_a_folder_that_is_none_to_write_to_is_refused(tmp_path, units, place):
    (tmp_path / "units").mkdir()
    (tmp_path / "link").symlink_to("units")
    (tmp_path / "file").write_text("")
    with pytest.raises(NoPlaceForFiles):
        write_files(tmp_path / place, FILES, units)
    assert list((tmp_path / "units").iterdir()) == []


def test_without_a_unit_folder_nothing_is_written(tmp_path):
    with pytest.raises(DeployError, match=r"missing key `units.directory`"):
        write_files(tmp_path / "new", FILES, Units(scope="user"))
    assert not (tmp_path / "new").exists()


def test_a_users_units_are_installed_without_sudo(tmp_path, units):
    install, reload = install_commands(tmp_path / "a b", FILES, units)
    assert install == f"install -D -m 644 -t {tmp_path}/units '{tmp_path}/a b/a.service' '{tmp_path}/a b/b.timer'"
    assert reload == "systemctl --user daemon-reload"
    assert timer_command("b.timer", units) == "systemctl --user enable --now b.timer"


def test_the_watch_of_a_user_needs_no_privilege(tmp_path):
    host = load_host("local", bare=True)
    service = render_watch(host, tmp_path / "readiness", ["--host=local"], [tmp_path])["llama-readiness-watch.service"]
    assert f"ExecStart={tmp_path}/readiness watch --host=local" in service
    for key in ("User=", "ProtectSystem=", "CapabilityBoundingSet=", "IPAddressDeny="):
        assert key not in service


def test_a_checkout_that_systemd_cannot_start_from_is_told(tmp_path):
    with pytest.raises(DeployError, match="takes no quotes"):
        render_watch(load_host("local", bare=True), tmp_path / 'a"b' / "readiness", [], [])


def test_a_machine_without_the_program_that_asks_for_health_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = no_health_client()
    assert line.startswith("curl is not on this machine")
    program = tmp_path / "curl"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert not list(no_health_client())
