"""The one interface to systemctl: what it asks, how it fails, and that it never asks for a password."""

import os

import pytest
from support.installed_units import fake_tool

from fixtures.deploy import systemctl
from fixtures.deploy.systemctl import ChangeFailed, Systemctl, SystemdSilent


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A systemctl that notes its words and answers as told."""
    monkeypatch.setattr(systemctl, "_BOOTED", tmp_path)
    monkeypatch.setenv("PATH", fake_tool(tmp_path / "bin", "systemctl", ""))

    def tell(body):
        (tmp_path / "bin/systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{body}\n')

    def asked():
        return (tmp_path / "asked").read_text().splitlines()

    tell("exit 0")
    return tell, asked


def test_properties_are_asked_of_the_scopes_manager(fake):
    tell, asked = fake
    tell("echo ActiveState=active; echo MainPID=7; echo 'Weird=a=b'")
    assert Systemctl("user").show("x.service", "ActiveState", "MainPID", "Weird") == {
        "ActiveState": "active",
        "MainPID": "7",
        "Weird": "a=b",
    }
    assert Systemctl("system").active_state("x.service") == "active"
    assert asked()[0] == "--user --no-pager show x.service --property=ActiveState,MainPID,Weird"
    assert asked()[1].startswith("--system ")


def test_no_change_asks_for_a_password(fake):
    _, asked = fake
    for verb in ("start", "stop", "restart"):
        Systemctl("system").change(verb, "x.service", 5.0)
    Systemctl("system").daemon_reload()
    assert asked() == [
        f"--system --no-ask-password {words}" for words in ("start x.service", "stop x.service", "restart x.service", "daemon-reload")
    ]


def test_what_systemd_says_of_a_failure_is_told(fake):
    tell, _ = fake
    tell("echo 'Interactive authentication required.' >&2; exit 1")
    with pytest.raises(ChangeFailed, match=r"`systemctl --user restart x\.service` failed: Interactive authentication required\."):
        Systemctl("user").change("restart", "x.service", 5.0)
    with pytest.raises(SystemdSilent, match="could not be asked: Interactive"):
        Systemctl("user").active_state("x.service")


def test_one_that_hangs_is_given_up(fake, monkeypatch):
    tell, _ = fake
    tell("exec sleep 60")
    with pytest.raises(ChangeFailed, match="did not end within 1 s; systemd may still be at it"):
        Systemctl("user").change("start", "x.service", 1.0)
    monkeypatch.setattr(systemctl, "_ASK_S", 0.5)
    with pytest.raises(SystemdSilent, match="could not be asked"):
        Systemctl("user").active_state("x.service")


def test_where_no_systemd_runs_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(systemctl, "_BOOTED", tmp_path / "none")
    with pytest.raises(SystemdSilent, match="systemd does not run here"):
        Systemctl("system").active_state("x.service")
    monkeypatch.setattr(systemctl, "_BOOTED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemdSilent, match="systemctl is missing"):
        Systemctl("system").daemon_reload()


def test_who_may_change_services(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Systemctl("user").may_change()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not Systemctl("system").may_change()
    for status in (0, 1):
        tool = tmp_path / "pkcheck"
        tool.write_text(f"#!/bin/sh\nexit {status}\n")
        tool.chmod(0o755)
        assert Systemctl("system").may_change() == (status == 0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Systemctl("system").may_change()


def test_commands_are_told_as_people_type_them():
    assert Systemctl("user").command("restart", "x.service") == ("systemctl", "--user", "restart", "x.service")
    assert Systemctl("system").command("daemon-reload") == ("systemctl", "daemon-reload")
