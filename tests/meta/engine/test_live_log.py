"""Which part of a log is the attached process's own, and what is no log of it at all."""

import os
import subprocess
import sys
import time

import pytest

from fixtures.engine.live_log import NotItsLog, live_log, own_part

LOAD = "0.00.036.589 I srv    load_model: loading model '/m/a.gguf'\n"
KV = "0.09.001 I llama_kv_cache: size = 4.00 MiB\n"
UP = "0.09.946.402 I srv  llama_server: listening on http://127.0.0.1:8092\n"
OLD_UP = "main: server is listening on http://127.0.0.1:8092 - starting the main loop\n"
ELSEWHERE = UP.replace("8092", "8093")


@pytest.mark.parametrize(
    ("text", "own"),
    [
        (LOAD + KV + UP + "answer\n", LOAD + KV + UP + "answer\n"),
        (LOAD + "CUDA error\n" + UP + LOAD + KV + UP, LOAD + KV + UP),  # restarted, the same file
        ("CUDA error\n" + LOAD + KV + UP, LOAD + KV + UP),
        (LOAD + "failed\n" + LOAD + KV + UP, LOAD + KV + UP),  # a start that came to nothing before
        (LOAD + KV + OLD_UP, LOAD + KV + OLD_UP),
        (LOAD + KV + UP.replace("127.0.0.1", "[::]"), LOAD + KV + UP.replace("127.0.0.1", "[::]")),
        (LOAD + ELSEWHERE + LOAD + KV + UP, LOAD + KV + UP),
    ],
)
def test_own_part(text, own):
    assert own_part(text, 8092) == own


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the log is empty"),
        (" \n", "the log is empty"),
        (KV + UP, "does not hold the start"),
        (UP + LOAD, "does not hold the start"),
        (LOAD + KV, "does not hold the start"),
        ("answer\nanswer\n", "does not hold the start"),
        (LOAD + KV + ELSEWHERE, "last start is that of a server on port 8093, not 8092"),
        (LOAD + KV + UP + LOAD + KV + ELSEWHERE, "last start is that of a server on port 8093, not 8092"),
        (LOAD + KV + UP + LOAD, "after the start of this process, the log holds that of another one"),
        (LOAD + KV + UP.replace("8092", "80921"), "on port 80921, not 8092"),
    ],
)
def test_not_its_own(text, said):
    with pytest.raises(NotItsLog, match=said):
        own_part(text, 8092)


SAYS = "import sys, time; time.sleep(0.1); sys.stdout.write(sys.argv[1]); sys.stdout.flush(); time.sleep(60)"


@pytest.fixture
def writer():
    started = []

    def start(log, text, mode="ab"):
        with log.open(mode) as sink:
            started.append(subprocess.Popen([sys.executable, "-c", SAYS, text], stdout=sink, stderr=sink))
        deadline = time.monotonic() + 20
        while text and text not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        return started[-1].pid

    yield start
    for each in started:
        each.kill()
        each.wait()


def test_its_file_under_any_name(writer, tmp_path):
    log = tmp_path / "canary.log"
    pid = writer(log, LOAD + KV + UP)
    assert live_log(pid, 8092).name == str(log)
    log.rename(tmp_path / "canary.log.1")
    log.write_text("a new one, of nobody yet\n")
    assert live_log(pid, 8092) == live_log(pid, 8092)
    assert live_log(pid, 8092).name == str(tmp_path / "canary.log.1")
    assert live_log(pid, 8092).text == LOAD + KV + UP


def test_what_was_there_before_the_process_is_not_its_own(writer, tmp_path):
    log = tmp_path / "canary.log"
    log.write_text(LOAD + KV + UP)
    with pytest.raises(NotItsLog, match=r"written nothing to it|was last written before the process started"):
        live_log(writer(log, ""), 8092)


def test_a_log_of_last_week(writer, tmp_path):
    log = tmp_path / "canary.log"
    pid = writer(log, LOAD + KV + UP)
    week_ago = time.time() - 7 * 86400
    os.utime(log, (week_ago, week_ago))
    with pytest.raises(NotItsLog, match="was last written before the process started"):
        live_log(pid, 8092)
