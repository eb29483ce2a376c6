"""Engines that never stop talking, servers that never stop answering, addresses that are none, patterns that never end."""

import gzip
import itertools
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.bad_input import check_words, refusal

from fixtures.catalog.host import Competing
from fixtures.engine.attached import AttachError, attach
from fixtures.engine.client import ClientError, LlamaClient
from fixtures.engine.dialect_probe import DialectError, ask_program
from fixtures.host.load import competing_load
from fixtures.host.patterns import PatternSearch, PatternTooSlow

TIMEOUT_S = 2.0

# name -> (shell script, what is said)
ENGINES = {
    "never stops talking": ("yes", r"printed more than 4 MiB and was killed"),
    "2 GB of nothing": ("head -c 2000000000 /dev/zero", r"printed more than 4 MiB"),
    "sleeps": ("sleep 100", r"gave no answer within 2 s and was killed"),
    "leaves a child with its output": ("sleep 100 & echo hi", r"gave no answer within 2 s"),
    "paints": ("printf '\\033[31mred\\n'; exit 3", r"ended with status 3.*\n⟨U\+001B⟩\[31mred"),
}


def send(handler, body, status=200, **headers):
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def endlessly(piece, pause_s=0.0):
    """Answers with the piece again and again, until nobody listens."""

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in itertools.count():
            handler.wfile.write(piece)
            time.sleep(pause_s)

    return answer


def body(content, **more):
    return lambda handler: send(handler, content, **more)


PROPS = {
    "a byte now and then": (endlessly(b" ", 0.3), r"the answer did not end within 2 s"),
    "gigabytes": (endlessly(b" " * 1_000_000), r"the answer is larger than 64 MiB"),
    "a packed bomb": (body(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), r"the answer is compressed \('gzip'\)"),
    "nested without end": (body(b"[" * 200_000), r"JSON that is nested without end"),
    "a page that paints": (body(b"<html>\x1b[31m"), r"not JSON: .*⟨U\+001B⟩"),
    "an error that paints": (body(b"\x1b[31mboom", status=500), r"HTTP 500 instead of 200: ⟨U\+001B⟩\[31mboom"),
    "a number of 5000 digits": (body(b'{"a":' + b"9" * 5000 + b"}"), r"not JSON"),
    "nothing": (body(b"null"), r"unexpected Props answer"),
}

ANSWERS = {
    "a number for a text": b'{"choices":[{"message":{"content":5}}]}',
    "a list for a text": b'{"choices":[{"message":{"content":["a"]}}]}',
    "a text for choices": b'{"choices":"x"}',
    "a list": b"[]",
    "a number for the end": b'{"choices":[{"message":{"content":"x"},"finish_reason":7}]}',
    "speed without end": b'{"choices":[{"message":{"content":"x"}}],"timings":{"predicted_per_second":1e999}}',
}

ADDRESSES = {
    "a bracket that does not close": ("http://[::1", r"not a server address; expected something like http://127\.0\.0\.1:8092"),
    "another protocol": ("ftp://127.0.0.1:8092", r"not a server address"),
    "a port that is none": ("http://127.0.0.1:99999", r"not a server address"),
    "one that paints": ("http://127.0.0.1:8092\x1b[31m", r"not a server address.*⟨U\+001B⟩"),
    "one of no width": ("http://\u200b:80", r"not a server address.*⟨U\+200B⟩"),
    "a name without end": ("http://" + "a" * 300 + ":80", r"no such request can be sent"),
    "nobody there": ("http://127.0.0.1:1", r"start the server first, this suite never does, or correct the URL"),
}
CASES = (ENGINES, PROPS, ANSWERS, ADDRESSES)


@contextmanager
def served(answer):
    """The address of a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with_error = (BrokenPipeError, ConnectionResetError)
            try:
                answer(self)
            except with_error:
                self.close_connection = True

        do_POST = do_GET  # noqa: N815 - as http.server calls it

        def log_message(self, *_):
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("case", ENGINES)
def test_engine(case, tmp_path):
    script, said = ENGINES[case]
    program = tmp_path / "llama-server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    refusal(DialectError, lambda: ask_program(program, "--help", {"PATH": os.environ["PATH"]}, TIMEOUT_S), str(program), said)


@pytest.mark.parametrize("case", PROPS)
def test_server(case):
    answer, said = PROPS[case]
    with served(answer) as url, LlamaClient(url, TIMEOUT_S) as client:
        refusal(ClientError, client.props, url, said)


@pytest.mark.parametrize("case", ANSWERS)
def test_answer(case):
    with served(body(ANSWERS[case])) as url, LlamaClient(url, TIMEOUT_S) as client:
        refusal(ClientError, lambda: client.chat([], max_tokens=1), url)


@pytest.mark.parametrize(
    ("ask", "content"),
    [(LlamaClient.metrics, b"x y z\n"), (lambda client: client.tokenize("x"), b'{"tokens":["x",null]}'), (LlamaClient.slots, b'"x"')],
    ids=["metrics", "tokens", "slots"],
)
def test_other_answers(ask, content):
    with served(body(content)) as url, LlamaClient(url, TIMEOUT_S) as client:
        refusal(ClientError, lambda: ask(client), url, r"expected")


@pytest.mark.parametrize("case", ADDRESSES)
def test_address(case):
    url, said = ADDRESSES[case]
    refusal(AttachError, lambda: attach(url, TIMEOUT_S), r"^--attach", said)


def test_a_password_in_an_address_is_never_shown():
    told = refusal(AttachError, lambda: attach("http://ann:swordfish@127.0.0.1:1/", TIMEOUT_S))
    assert "swordfish" not in told


def test_a_key_that_no_header_can_hold():
    told = refusal(AttachError, lambda: attach("http://127.0.0.1:1", TIMEOUT_S, "swordfish\n"), r"READINESS_API_KEY")
    assert "swordfish" not in told


def test_a_pattern_that_never_ends_is_given_up_and_named():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "a" * 40 + "!"]) as other:
        try:
            entry = Competing(name="asr", cmdline="(a+)+$", max_cpu_pct=1)
            with pytest.raises(PatternTooSlow) as caught:  # in CPU time, so that a busy machine is no slow pattern
                competing_load([entry], 0.05)
        finally:
            other.kill()
    check_words(str(caught.value), r"`guard\.competing`: the pattern '\(a\+\)\+\$' does not find an end")


def test_a_search_goes_on_after_one_that_was_given_up():
    search = PatternSearch(("fine", "(a+)+$"))
    try:
        with pytest.raises(PatternTooSlow):
            search.found("a" * 40 + "!")
        assert search.found("all is fine") == (True, False)
        assert search.found("\udcff \n fine a") == (True, True), "whatever bytes a command line has"
    finally:
        search.close()
