"""Locks of every kind against real holders - POSIX, open-file-description, folders - and notes that people leave in lock files."""

import os
import re
import socket
import threading

import pytest
from support.lock_holders import FLOCK, OFD, OFD_SHARED, POSIX, POSIX_LATE_BYTE, POSIX_SHARED, holding
from support.places import DATA

from fixtures.host import lock_content, processes
from fixtures.host.lock import LockError, LockHeld, RunLock, current_holder, describe_lock, inspect_lock
from fixtures.host.lock_content import parse_claim

GONE = 4194303  # the last pid that Linux would give: no process of a test machine has it


@pytest.mark.parametrize("how", [POSIX, POSIX_SHARED, POSIX_LATE_BYTE, OFD, OFD_SHARED, FLOCK])
def test_lock_of_any_kind_is_seen_with_its_holder_and_never_taken(path, how):
    path.write_text("left as it was\n", encoding="ascii")
    with holding(how, path) as pid:
        state = inspect_lock(path)
        assert (state.status, state.holder.pid, state.ours) == ("held", pid, False)
        with pytest.raises(LockHeld, match=f"held by pid {pid} "):
            RunLock(path).acquire(current_holder())
        assert path.read_text(encoding="ascii") == "left as it was\n"
    path.write_bytes(b"")
    with RunLock(path):
        assert inspect_lock(path).ours
    assert inspect_lock(path).is_free


@pytest.mark.parametrize("how", [POSIX, OFD, FLOCK])
def test_lock_is_seen_where_the_kernels_list_does_not_match(path, how, monkeypatch):
    """On overlay file systems and btrfs the inode of /proc/locks is another one than stat says."""
    monkeypatch.setattr("fixtures.host.lock.lock_pids", lambda info: ())
    monkeypatch.setattr("fixtures.host.lock.pids_with_lock_open", lambda info: ())
    with holding(how, path):
        assert describe_lock(inspect_lock(path)) == f"lock {path} is held by a process that this user may not see"
        with pytest.raises(LockHeld):
            RunLock(path).acquire(current_holder())


def test_looking_takes_no_lock_of_others_away(path):
    with holding(POSIX, path) as pid:
        for _ in range(3):
            assert inspect_lock(path).holder.pid == pid


NOTES = [
    "wayne is measuring 26B until 18:00",
    "14 May 2026 09:41 gate running",
    "2026 05 14",
    "2026-05-14",
    "20260514",
    "20260514 31B bench.sh",
    "1778722860",
    "09:41 do not disturb",
    "8 hours left",
    "31 B coherence",
    "12 monkeys",
    "pid 4194303 belongs to my bench, please wait",
    "the server of pid=4194303 is mine",
    "pid of the bench is 4194303, do not disturb",
    "4194303\nplease do not start anything",
    '{"pid": 4194303, "note": "cut of',
    '["4194303"]',
    "0",
    "四時まで使用中 4194303",
]


@pytest.mark.parametrize("note", NOTES)
def test_note_of_a_person_is_unclear_and_never_overwritten(path, note):
    path.write_text(note, encoding="utf-8")
    assert "holds text that names no process" in describe_lock(inspect_lock(path))
    assert inspect_lock(path).status == "unclear"
    with pytest.raises(LockError, match="names no process"):
        RunLock(path).acquire(current_holder())
    assert path.read_text(encoding="utf-8") == note


def test_note_whose_number_happens_to_be_a_living_process_is_a_note_too(path):
    path.write_text(f"{os.getpid()} B gate running on tty2", encoding="utf-8")
    assert inspect_lock(path).status == "unclear"


@pytest.mark.parametrize(
    "claim",
    [
        "{pid}",
        "  {pid}\n",
        "\0{pid}\0",
        "{pid} {host}",
        "pid={pid} host=spark since=2026-05-14",
        "pid: {pid}",
        "host=spark pid={pid}",
        "{pid}\n/var/lib/bench\n1778722860\n",
        "{pid} 2026-05-14T09:41 /opt/bench/run.sh",
        '{{"pid": {pid}, "note": "a sentence, in JSON"}}',
    ],
)
def test_pid_as_programs_write_it_is_a_claim(path, claim):
    host = socket.gethostname()
    assert parse_claim(claim.format(pid=os.getpid(), host=host).encode()).holder.pid == os.getpid()
    path.write_text(claim.format(pid=GONE, host=host), encoding="utf-8")
    assert (inspect_lock(path).status, inspect_lock(path).note) == ("stale", f"names pid {GONE}, which is gone")
    with RunLock(path):
        pass
    assert path.read_bytes() == b""


def test_inputs_of_the_issue(path):
    """06-lock-with-date: a date is no pid; a bare pid that is gone is stale."""
    path.write_bytes((DATA / "locks" / "a.lock").read_bytes())
    assert inspect_lock(path).status == "unclear"
    with pytest.raises(LockError, match="holds text that names no process: '2026-05-14 09:41 31B"):
        RunLock(path).acquire(current_holder())
    assert path.read_bytes() == (DATA / "locks" / "a.lock").read_bytes()
    bare = parse_claim((DATA / "locks" / "d.lock").read_bytes())
    assert (bare.holder.pid, bare.stale_note) == (4711, "names pid 4711, which is gone")


class TestFolder:
    """`mkdir` takes a lock: only one of two can make the folder."""

    def test_is_held_for_as_long_as_it_is_there(self, path):
        path.mkdir()
        state = inspect_lock(path)
        assert (state.status, state.holder) == ("held", None)
        assert re.fullmatch(
            rf"lock {path} is held by whoever made this folder, as `mkdir` takes a lock \(made by user \S+ at [\d: -]+ UTC\); remove it .*",
            describe_lock(state),
        )
        with pytest.raises(LockError, match="as `mkdir` takes a lock"):
            RunLock(path).acquire(current_holder())
        assert path.is_dir()

    def test_is_held_by_the_living_process_that_a_file_inside_names(self, path):
        path.mkdir()
        (path / "pid").write_text(f"{os.getpid()}\n", encoding="ascii")
        state = inspect_lock(path)
        assert (state.status, state.holder.pid) == ("held", os.getpid())

    def test_of_a_dead_process_is_unclear_and_left_alone(self, path):
        path.mkdir()
        (path / "owner").write_text(f"{GONE}\n", encoding="ascii")
        state = inspect_lock(path)
        assert state.status == "unclear"
        assert f"its file owner names pid {GONE}, which is gone: remove the folder if nobody uses it" in describe_lock(state)
        with pytest.raises(LockError):
            RunLock(path).acquire(current_holder())
        assert (path / "owner").read_text(encoding="ascii") == f"{GONE}\n"

    def test_behind_a_link_is_held_too(self, path, tmp_path):
        (tmp_path / "lock.d").mkdir()
        path.symlink_to(tmp_path / "lock.d")
        assert inspect_lock(path).status == "held"

    @pytest.mark.parametrize("inside", [{}, {"README": "of the bench"}, {"a": "", "b": "2026-05-14 gate"}], ids=str)
    def test_with_files_that_name_nobody_is_held(self, path, inside):
        path.mkdir()
        for name, text in inside.items():
            (path / name).write_text(text, encoding="utf-8")
        assert inspect_lock(path).status == "held"


class TestChanging:
    """A file that is being written is no claim yet, and nobody's to overwrite."""

    def test_is_unclear(self, path, monkeypatch):
        path.touch()
        contents = iter(range(GONE, GONE + 100))
        monkeypatch.setattr(lock_content, "_content", lambda file: b"%d" % next(contents))
        assert inspect_lock(path).note == "changes while it is being read: somebody is at work with it"
        with pytest.raises(LockError, match="changes while it is being read"):
            RunLock(path).acquire(current_holder())

    def test_is_read_again_until_two_readings_agree(self, path, monkeypatch):
        path.touch()
        contents = iter([b"", b"47", b"4194303\n", b"4194303\n"])
        monkeypatch.setattr(lock_content, "_content", lambda file: next(contents))
        assert lock_content.read_claim(path).holder.pid == GONE

    def test_real_writer_never_makes_it_free_by_half_a_line(self, path):
        """Whatever moment is looked at: a living holder that rewrites its claim is held or unclear."""
        line = f"pid={os.getpid()} host=spark"
        path.write_text(line, encoding="ascii")
        done = threading.Event()

        def rewrite():
            with path.open("r+b", buffering=0) as file:
                while not done.is_set():
                    os.pwrite(file.fileno(), line.encode(), 0)

        writer = threading.Thread(target=rewrite)
        writer.start()
        try:
            assert {inspect_lock(path).status for _ in range(200)} <= {"held", "unclear"}
        finally:
            done.set()
            writer.join()


def test_unreadable_file_is_unclear_for_a_normal_user(path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    path.write_text(f"{GONE}\n", encoding="ascii")
    path.chmod(0o222)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(path.parent)
            os.setgid(65534)
            os.setuid(65534)
            state = inspect_lock(type(path)(path.name))
            status = 0 if state.status == "unclear" and "Permission denied" in state.note else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_of_this_keeps_the_suite_from_its_own_lock(path):
    with RunLock(path):
        state = inspect_lock(path)
        assert (state.status, state.ours, state.holder.pid) == ("held", True, os.getpid())
        assert processes.is_alive(state.holder.pid)
