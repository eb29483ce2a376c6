"""`./readiness`: works from any folder, says what it has, and ends with the documented statuses; each wrong input is one sentence."""

import os
import shutil
import subprocess

import pytest
from support.legacy import PORT, UNIT, Legacy
from support.places import ROOT

from fixtures.operate import __main__ as operate

SCRIPT = ROOT / "readiness"


def readiness(*words, script=SCRIPT, folder=None):
    done = subprocess.run([str(script), *words], cwd=folder or "/", capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_help_lists_every_command_and_status():
    status, output = readiness("--help")
    assert status == 0
    for word in (
        "signoff",
        "audit",
        "doctor",
        "recheck",
        "render-units",
        "backup",
        "restore",
        "--approve",
        "0 done",
        "1 failed",
        "75 blocked",
    ):
        assert word in output


@pytest.mark.parametrize("words", [(), ("promote",), ("recheck",), ("render-units",)])
def test_a_wrong_call_is_status_4(words):
    assert readiness(*words)[0] == 4


def test_without_its_environment_it_says_how_to_make_one(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    status, output = readiness("audit", script=tmp_path / "readiness")
    assert status == 4
    assert "run `make setup`" in output


def test_it_may_be_called_by_a_link_from_anywhere(tmp_path):
    (tmp_path / "link").symlink_to(SCRIPT)
    status, output = readiness("restore", "--help", script=tmp_path / "link", folder=tmp_path)
    assert status == 0
    assert "--execute" in output


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("doctor",), "--doctor=-"),
        (("doctor", "--host=dgx"), "--doctor=- --host=dgx"),
        (("doctor", "my dgx.toml"), "--doctor=my dgx.toml"),
        (("signoff",), "--signoff"),
        (("signoff", "dgx", "--fresh"), "--signoff --host=dgx --fresh"),
    ],
)
def test_a_word_that_is_left_out_is_never_taken_from_what_follows(tmp_path, words, given):
    """`--doctor` takes a FILE or none: the tests that follow it are none."""
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_a.py").touch()
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$*"\nexit 75\n')
    python.chmod(0o755)
    status, output = readiness(*words, script=tmp_path / "readiness")
    assert status == 75, "the status is pytest's own"
    assert output.endswith(f" {given} {tmp_path}/tests/test_a.py\n")


def test_it_is_a_plain_shell_script():
    subprocess.run(["sh", "-n", str(SCRIPT)], check=True)


# -- the commands themselves, in this process


@pytest.fixture
def legacy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "journal"))
    made = Legacy(tmp_path)
    text = (ROOT / "fixtures/catalog/hosts/local.toml").read_text(encoding="utf-8")
    text = text.replace('id = "local"', 'id = "mine"', 1).replace('directory = "~/.config/systemd/user"', f'directory = "{made.units}"')
    text = text.replace(
        "[ports]\ntest = 18087\n",
        f'[ports]\ntest = 18087\n[ports.watch]\nfallback = {PORT}\n[fallback]\nunit = "{UNIT}"\nwatch = "fallback"\n',
    )
    made.host_file = made.file("mine.toml", text)
    return made


def called(legacy, *words, backup=None, capsys=None):
    overlay = legacy.folder / "overlay.toml"
    overlay.write_text(f'[fallback]\nbackup = "{backup}"\n' if backup else "[fallback]\nstate = []\n")
    return operate.main([*words, f"--host={legacy.host_file}", f"--overlay={overlay}"])


def said(capsys):
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out + err


def test_a_backup_is_taken(legacy, capsys):
    assert called(legacy, "backup", str(legacy.folder / "backups")) == 0
    assert '[fallback] backup = "' in said(capsys)


def test_a_backup_into_nowhere(legacy, capsys):
    assert called(legacy, "backup", str(legacy.folder / "nowhere")) == 4
    assert "is no folder: make it first" in said(capsys)


def test_a_backup_inside_what_it_keeps(legacy, capsys):
    overlay = legacy.folder / "overlay.toml"
    overlay.write_text(f'[fallback]\nstate = ["{legacy.folder}"]\n')
    status = operate.main(["backup", str(legacy.folder / "backups"), f"--host={legacy.host_file}", f"--overlay={overlay}"])
    assert status == 4
    assert "a backup would hold itself" in said(capsys)


def test_a_backup_without_an_environment_file_that_the_unit_needs(legacy, capsys):
    legacy.env.unlink()
    assert called(legacy, "backup", str(legacy.folder / "backups")) == 1
    assert "legacy.env (environment) is not there, though the unit needs it. Nothing was written" in said(capsys)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by a read-only file system alone")
def test_a_backup_that_may_not_be_written(legacy, capsys, monkeypatch):
    monkeypatch.setattr("fixtures.operate.keep.Path.mkdir", refusing(30, "Read-only file system"))
    assert called(legacy, "backup", str(legacy.folder / "backups")) == 1
    assert "Read-only file system" in said(capsys)


def refusing(number, words):
    def refuse(path, *_, **__):
        raise OSError(number, words, str(path))

    return refuse


def test_a_host_without_a_fallback(legacy, capsys):
    assert operate.main(["restore", "--host=twins"]) == 75
    assert "host twins has no fallback" in said(capsys)


def test_a_restore_without_the_backups_key(legacy, capsys):
    assert called(legacy, "restore") == 75
    assert "missing key `fallback.backup`" in said(capsys)


@pytest.mark.parametrize("make", [lambda place: None, lambda place: place.mkdir()], ids=["nothing", "empty"])
def test_a_restore_from_a_backup_that_is_none(legacy, capsys, make):
    make(legacy.folder / "no-backup")
    assert called(legacy, "restore", backup=legacy.folder / "no-backup") == 1
    assert said(capsys).startswith("restore: the backup ")


def test_a_restore_from_a_source_of_ones_own_needs_no_key_to_be_shown(legacy, capsys):
    assert called(legacy, "restore", "--source", str(legacy.backup())) == 0
    assert "0 to change, 8 as backed up already" in said(capsys)


def test_an_approval_that_names_nobody(legacy, capsys):
    assert called(legacy, "restore", "--execute", "--approve", "because I say so", backup=legacy.backup()) == 4
    assert 'expected "WHO: REASON"' in said(capsys)


def test_a_restore_where_no_systemd_runs(legacy, capsys):
    legacy.place = legacy.backup()
    legacy.change()
    before = legacy.tree()
    assert called(legacy, "restore", "--execute", "--approve", "Ann: the candidate is withdrawn", backup=legacy.place) == 75
    assert "nothing was changed: systemd does not run here" in said(capsys)
    assert {name: told for name, told in legacy.tree().items() if name != "overlay.toml"} == before


def test_execute_and_recover_do_not_go_together(legacy, capsys):
    with pytest.raises(SystemExit) as ended:
        called(legacy, "restore", "--execute", "--recover")
    assert ended.value.code == 4


def test_no_gate_can_reach_what_changes_services():
    """import-linter holds the rooms to it; the gates are no room."""
    gates = [*(ROOT / "tests").glob("test_*.py"), ROOT / "conftest.py"]
    assert gates
    assert not [gate.name for gate in gates if "fixtures.operate" in gate.read_text(encoding="utf-8")]
