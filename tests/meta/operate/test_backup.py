"""A backup: complete, verified, read-only; and whatever goes wrong leaves nothing that looks like one."""

import json
import os
import signal
import socket
import stat
from pathlib import Path

import pytest
from support.legacy import UNIT, Legacy, tree_of

from fixtures.operate import keep as keeping
from fixtures.operate.keep import BackupFailed, keep
from fixtures.records.backup import FILES, MANIFEST, BackupManifest
from fixtures.records.base import utc_now


@pytest.fixture
def legacy(tmp_path):
    return Legacy(tmp_path)


def entries(folder):
    return {entry.path: entry for entry in BackupManifest.model_validate_json((folder / MANIFEST).read_bytes()).entries}


def test_everything_that_makes_the_fallback_is_kept(legacy):
    before = legacy.tree()
    found = entries(legacy.backup())
    kinds = {str(Path(path).relative_to(legacy.folder)): (entry.why, entry.kind) for path, entry in found.items()}
    assert kinds == {
        f"units/{UNIT}": ("unit", "file"),
        f"units/{UNIT}.d/10.conf": ("drop-in", "file"),
        f"units/default.target.wants/{UNIT}": ("enabled", "link"),
        "etc/legacy.env": ("environment", "file"),
        "bin/run.sh": ("script", "file"),
        "bin/common.sh": ("script", "file"),
        "state": ("state", "folder"),
        "state/sub": ("state", "folder"),
        "state/sub/notes.txt": ("state", "file"),
        "state/elsewhere": ("state", "link"),
    }
    assert legacy.tree() == before


def test_program_and_models_stay_where_they_are(legacy):
    manifest = json.loads((legacy.backup() / MANIFEST).read_text())
    assert {str(legacy.program), str(legacy.model)} <= {*manifest["refers"]}
    assert manifest["absent"] == [f"{legacy.folder}/none.env"]


def test_copies_are_the_originals_and_read_only(legacy):
    folder = legacy.backup()
    for path, entry in entries(folder).items():
        copy = folder / FILES / path.lstrip("/")
        assert copy.exists() == (entry.kind == "file" or (entry.kind == "folder" and any(copy.iterdir())))
        if entry.kind == "file":
            assert copy.read_bytes() == Path(path).read_bytes()
            assert stat.S_IMODE(copy.stat().st_mode) == (entry.mode & ~0o222)
            assert entry.owner.count(":") == 1
    assert entries(folder)[str(legacy.env)].mode == 0o600


def test_a_link_is_kept_as_a_link_and_what_it_leads_to_only_where_it_was_named(legacy):
    folder = legacy.backup()
    assert entries(folder)[str(legacy.state / "elsewhere")].target == "/etc/passwd"
    assert "/etc/passwd" not in entries(folder)
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_a_linked_unit_is_kept_with_its_file(legacy):
    real = legacy.file("home/unit/real.service", legacy.unit.read_bytes())
    legacy.unit.unlink()
    legacy.unit.symlink_to(real)
    found = entries(legacy.backup())
    assert found[str(legacy.unit)].target == str(real)
    assert found[str(real)].kind == "file"


def test_it_never_overwrites(legacy):
    at = utc_now()
    folder, _ = keep(legacy.host(), UNIT, legacy.belongings(), legacy.folder / "backups", at)
    before = tree_of(folder)
    with pytest.raises(BackupFailed, match="never overwrites"):
        keep(legacy.host(), UNIT, legacy.belongings(), legacy.folder / "backups", at)
    assert tree_of(folder) == before


def left_behind(legacy):
    return list((legacy.folder / "backups").iterdir())


def bound(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(("make", "words"), [(os.mkfifo, "a named pipe"), (bound, "a socket")])
def test_a_special_file_is_refused_by_name(legacy, make, words, monkeypatch):
    monkeypatch.chdir(legacy.state)  # a socket's path may not be long
    make("special")
    with pytest.raises(BackupFailed, match=rf"state/special is {words}"):
        legacy.backup()
    assert left_behind(legacy) == []


def test_an_unreadable_file_is_named_with_what_to_do(legacy, monkeypatch):
    real = os.open

    def refusing(path, *rest, **more):
        if str(path) == str(legacy.env):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(keeping.os, "open", refusing)
    with pytest.raises(BackupFailed, match=r"legacy\.env cannot be read \(Permission denied\): run this as a user who may"):
        legacy.backup()
    assert left_behind(legacy) == []


def test_a_file_that_changes_meanwhile_is_no_backup(legacy, monkeypatch):
    real = keeping._copied

    def growing(reader, copy, mode):
        if copy.name == "notes.txt":
            with (legacy.state / "sub" / "notes.txt").open("a") as more:
                more.write("and more\n")
        return real(reader, copy, mode)

    monkeypatch.setattr(keeping, "_copied", growing)
    with pytest.raises(BackupFailed, match=r"notes\.txt was changed while it was read"):
        legacy.backup()


def test_a_disk_that_reads_back_something_else_is_seen(legacy, monkeypatch):
    real = keeping._copied

    def rotting(reader, copy, mode):
        told = real(reader, copy, mode)
        copy.chmod(0o600)
        copy.write_bytes(b"rot")
        return told

    monkeypatch.setattr(keeping, "_copied", rotting)
    with pytest.raises(BackupFailed, match="reads back as something else"):
        legacy.backup()
    assert left_behind(legacy) == []


def test_a_full_disk_is_told_and_leaves_nothing(legacy, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.os, "fsync", full)
    with pytest.raises(BackupFailed, match=r"cannot be written: .*No space left on device"):
        legacy.backup()
    assert left_behind(legacy) == []


def test_a_kill_at_any_step_leaves_nothing_that_looks_like_a_backup(legacy):
    number = 0
    while killed(legacy, number):
        finished = [path for path in left_behind(legacy) if not path.name.startswith(".")]
        for path in finished:  # the rename was the last that mattered
            assert entries(path)
            assert len(finished) == 1
        number += 1
    assert number > 10
    assert len(left_behind(legacy)) == 1, "what was cut off is cleared away by the next backup"


def killed(legacy, at):
    """Whether a child that takes a backup was killed at its fsync number `at`."""
    for path in left_behind(legacy):
        if not path.name.startswith("."):
            keeping._remove(path)
    child = os.fork()
    if child == 0:
        count = iter(range(10**6))
        real = os.fsync
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL) if next(count) == at else real(handle)
        try:
            legacy.backup()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
