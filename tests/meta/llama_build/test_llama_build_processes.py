"""Real `python -m llama_build` processes: together, killed, interrupted, on a terminal."""

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llama_build.lock import held
from llama_build.progress import every
from llama_build.types import BuildError

pytestmark = pytest.mark.runtime

# `slow` counts how often it ran, and waits for as long as there is a file named `wait` beside the count
CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(slow C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
option(TINY_LOUD "another key" OFF)
add_custom_command(OUTPUT slow.c COMMAND sh ${CMAKE_SOURCE_DIR}/slow.sh VERBATIM)
add_library(slow STATIC slow.c)
foreach(program llama-server llama-perplexity llama-bench)
  add_executable(${program} main.c)
  target_link_libraries(${program} PRIVATE slow)
endforeach()
"""
SLOW = """
echo ran >> "{notes}/count"
while [ -e "{notes}/wait" ]; do sleep 0.1; done
echo 'int slow;' > slow.c
"""


class Builds:
    """Starts builds of one slow tree in one cache."""

    def __init__(self, root):
        self.notes = root / "notes"
        self.notes.mkdir()
        self.tree = root / "tree"
        self.tree.mkdir()
        (self.tree / "CMakeLists.txt").write_text(CMAKE)
        (self.tree / "slow.sh").write_text(SLOW.format(notes=self.notes))
        (self.tree / "main.c").write_text("int main(void) { return 0; }\n")
        self.cache = root / "xdg" / "llama-readiness"
        self.env = os.environ | {"XDG_CACHE_HOME": str(root / "xdg")}
        self._started = []

    def argv(self, *args):
        return [sys.executable, "-m", "llama_build", *args, "--recipe", "source", "--path", str(self.tree)]

    def start(self, *args, stderr=subprocess.PIPE):
        process = subprocess.Popen(self.argv(*args), env=self.env, stdout=subprocess.PIPE, stderr=stderr, text=True)
        self._started.append(process)
        return process

    def hold(self):
        (self.notes / "wait").touch()

    def go(self):
        (self.notes / "wait").unlink(missing_ok=True)

    def runs(self):
        count = self.notes / "count"
        return len(count.read_text().splitlines()) if count.exists() else 0

    def parts(self):
        return list((self.cache / "engines").glob("*.part"))

    def children(self):
        """Command lines of all processes that work in this cache, the builders excepted."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.cache) in line or str(self.notes) in line:
                found.append(line)
        return found

    def end(self):
        self.go()
        for process in self._started:
            process.kill()
            process.communicate()


def until(true, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.05)


@pytest.fixture
def builds(tmp_path):
    made = Builds(tmp_path)
    yield made
    made.end()


def test_two_processes_that_ask_at_once_build_once(builds):
    builds.hold()
    first = builds.start()
    until(lambda: builds.runs() == 1, "the first build at work")
    second = builds.start()
    waited = ""
    while not waited.startswith("wait:"):
        waited = second.stderr.readline()
    builds.go()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert outputs[0] == outputs[1]
    assert builds.runs() == 1
    assert f"pid {first.pid} (" in waited
    assert "-m llama_build" in waited
    assert re.search(r"since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", waited)


def test_a_killed_build_leaves_no_process_and_nothing_that_looks_finished(builds):
    builds.hold()
    killed = builds.start("--option", "TINY_LOUD=ON")
    until(lambda: builds.runs() == 1, "the build at work")
    assert any("slow.sh" in line for line in builds.children()), "the planted slow step must be visible, or this test proves nothing"
    killed.kill()
    killed.wait()
    until(lambda: not builds.children(), "every child to end with its builder", 10)
    assert (
        subprocess.run(builds.argv("where", "--option", "TINY_LOUD=ON"), env=builds.env, capture_output=True, check=False).returncode == 1
    )
    [part] = builds.parts()
    builds.go()
    resumed = builds.start("--option", "TINY_LOUD=ON")
    out, told = resumed.communicate(timeout=60)
    assert f"resume: {part} holds what was compiled before" in told
    assert builds.parts() == []
    assert (Path(out.strip()) / "llama-server").is_file()


def test_leftovers_of_a_build_that_still_runs_are_left_alone(builds):
    builds.hold()
    running = builds.start("--option", "TINY_LOUD=ON")
    until(lambda: builds.runs() == 1, "the first build at work")
    builds.start()
    until(lambda: builds.runs() == 2, "the second build at work")
    assert len(builds.parts()) == 2
    builds.go()
    running.communicate(timeout=60)
    assert running.returncode == 0


@pytest.fixture
def interruptible():
    """A background job of a shell ignores SIGINT, and its children inherit that: give them the signal back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_an_interrupted_build_takes_its_children_along(builds, signal_number, status):
    builds.hold()
    process = builds.start()
    until(lambda: builds.runs() == 1, "the build at work")
    process.send_signal(signal_number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in error
    until(lambda: not builds.children(), "every child to end with its builder", 10)


def test_progress_shows_count_and_elapsed_time_in_few_lines(builds):
    builds.hold()
    process = builds.start()
    until(lambda: builds.runs() == 1, "the build at work")
    lines = []
    while len([line for line in lines if line.startswith("compile:")]) < 3:
        lines.append(process.stderr.readline())
    builds.go()
    assert re.fullmatch(r"compile: (\[\d+/8\] )?00:\d\d.*\n", lines[-1]), lines
    assert "\r" not in "".join(lines)


def test_on_a_terminal_one_line_lives(builds):
    builds.hold()
    terminal, theirs = pty.openpty()
    process = builds.start(stderr=theirs)
    os.close(theirs)
    shown = b""
    while shown.count(b"\r\x1b[K") < 2:
        shown += os.read(terminal, 4096)
    builds.go()
    while not re.search(rb"\ndone: .*\n", shown):
        shown += os.read(terminal, 4096)
    process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0
    assert re.search(rb"\r\n(check|done): ", shown)


def test_a_stray_child_does_not_keep_the_lock(tmp_path):
    with held(tmp_path / "lock", "the engine", print, 1):
        stray = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with (tmp_path / "lock").open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        stray.kill()
        stray.wait()


def test_waiting_ends_with_who_to_look_for(tmp_path):
    lines = []
    with (
        held(tmp_path / "lock", "the engine", print, 1),
        pytest.raises(BuildError, match=rf"Waited 00:00 for the engine: pid {os.getpid()} .* End that process if it hangs"),
        held(tmp_path / "lock", "the engine", lines.append, 0.2),
    ):
        pytest.fail("two held one lock")
    assert lines[0].startswith(f"wait: for the engine, 00:00: pid {os.getpid()} (")


def test_lines_of_one_stage_are_thinned_out_and_a_new_stage_is_shown_at_once():
    shown = []
    tell = every(60, shown.append)
    for line in ("compile: 1", "compile: 2", "check: 1", "check: 2", "compile: 3"):
        tell(line)
    assert shown == ["compile: 1", "check: 1", "compile: 3"]
