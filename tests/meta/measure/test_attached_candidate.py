"""`--attach`: a live llama-server is the candidate only where process, service and log prove it. Each case on a real server."""

import os
import re
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support import child_session, owners_servers

from fixtures.catalog.load import load_host, load_lanes
from fixtures.catalog.requirement import Arm
from fixtures.engine.attached import AttachedServer, attach
from fixtures.engine.host_engine import HostEngine
from fixtures.engine.memory import Memory
from fixtures.engine.subject import Subject
from fixtures.measure.attached_candidate import not_the_candidate
from fixtures.models.host_models import HostModels
from fixtures.models.registry import ensure_registry_model
from fixtures.records.blocked import Blocked
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime]

PORT = 18720
URL = f"http://127.0.0.1:{PORT}"
FLAGS = ("-c", "2048", "-t", "1", "-np", "1", "-fa", "on", "--jinja", "--no-warmup")
NGRAM = ("--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "8", "--spec-ngram-mod-n-min", "4", "--spec-ngram-mod-n-max", "16")
TELLS = ("-lv", "4")
Q8 = ("-ctk", "q8_0", "-ctv", "q8_0")
K, V = "LLAMA_ARG_CACHE_TYPE_K", "LLAMA_ARG_CACHE_TYPE_V"
GRAPHS = "GGML_CUDA_DISABLE_GRAPHS"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The host of child sessions, and its candidate in F16 and without graphs as well."""
    file = child_session.write_host(tmp_path_factory.mktemp("host"), port=18465)
    host = load_host(str(file))
    good = host.candidate("good-q8")
    f16 = good.model_copy(update={"id": "good-f16", "lane": "f16"})
    nographs = good.model_copy(update={"id": "good-nographs", "policy": good.policy.model_copy(update={"no_graphs": True})})
    return host.model_copy(update={"candidates": (*host.candidates, f16, nographs)})


@pytest.fixture(scope="module")
def asked(host, tmp_path_factory):
    """What keeps the live server from being a candidate: (kind, words)."""
    models, engine = HostModels(host, print), HostEngine(host, load_lanes(), print, lambda: None)

    def ask(candidate, live):
        subject = Subject(
            host=host, candidate=host.candidate(candidate), arm=Arm.PRODUCTION, models=models, engine=engine, slot=None,
            logs=tmp_path_factory.getbasetemp(), memory=Memory(), progress=print, attached=live,
        )  # fmt: skip
        try:
            found = not_the_candidate(subject, live)
        except Blocked as error:
            return "BLOCKED", str(error)
        return ("INVALID", found.raw["attached"]["invalid"]) if found else ("", "")

    return ask


@pytest.fixture
def live(tmp_path):
    """Starts a server as an owner would; all are killed in the end."""
    with owners_servers.killed_in_the_end() as started:

        def start(*flags, env=None, log=None, program=None, before=""):
            log = log or tmp_path / "live.log"
            if before:
                log.write_text(before)
            server = program or str(build_engine(EngineRequest.named("pinned+tbq")).server)
            command = [server, "-m", str(ensure_registry_model("smollm2-135m")), "--port", str(PORT), *FLAGS, *flags]
            with log.open("ab") as sink:
                clean = {name: os.environ[name] for name in ("PATH", "HOME")}
                process = subprocess.Popen(command, stdout=sink, stderr=sink, env=clean | (env or {}))
            started.append(process)
            deadline = time.monotonic() + 120
            while subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{URL}/health"], check=False).returncode:
                assert process.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.1)
            return process

        yield start


def reached():
    return attach(URL, 60.0)


CASES = {
    # the inputs of issue 14
    "a: q4 by variable is no F16": ("good-f16", {K: "q4_0", V: "q4_0"}, (*NGRAM, *TELLS), ("LLAMA_ARG_CACHE_TYPE_K q4_0, tested was f16",)),
    "b: q8 by variable is q8": ("good-q8", {K: "q8_0", V: "q8_0"}, (*NGRAM, *TELLS), ()),
    "d: policy missing": ("good-nographs", {}, (*Q8, *NGRAM, *TELLS), (f"lacks the variable {GRAPHS}=1",)),
    "e: other kind of drafter": ("good-q8", {}, (*Q8, "--spec-type", "ngram-simple", *TELLS), ("--spec-type ngram-simple", "ngram-mod")),
    "f: other context": ("good-q8", {}, (*Q8, *NGRAM, *TELLS, "-c", "512", "--swa-full"), ("-c 512, tested was 2048", "--swa-full on")),
    # of the same kinds
    "policy there, whatever its value": ("good-nographs", {GRAPHS: "0"}, (*Q8, *NGRAM, *TELLS), ()),
    "policy that nobody asked for": ("good-q8", {GRAPHS: "1"}, (*Q8, *NGRAM, *TELLS), (f"sets {GRAPHS}=1, tested was without it",)),
    "flags win over variables": ("good-q8", {K: "q4_0", V: "q4_0"}, (*Q8, *NGRAM, *TELLS), ()),
    "variable in lower case is none": ("good-q8", {K.lower(): "q8_0", V: "q8_0"}, (*NGRAM, *TELLS), ("does not say -ctk (default f16)",)),
    "long names": ("good-q8", {}, ("--cache-type-k", "q8_0", "--cache-type-v", "q8_0", *NGRAM, *TELLS), ()),
    "only V is another": ("good-q8", {}, ("-ctk", "q8_0", "-ctv", "f16", *NGRAM, *TELLS), ("-ctv f16, tested was q8_0",)),
    "longer drafts": ("good-q8", {}, (*Q8, *NGRAM[:-1], "32", *TELLS), ("--spec-ngram-mod-n-max 32, tested was 16",)),
    "another drafter beside it": ("good-q8", {"LLAMA_ARG_SPEC_TYPE": "ngram-simple"}, (*Q8, *NGRAM, *TELLS), ("ngram-simple",)),
    "two slots": ("good-q8", {}, (*Q8, *NGRAM, *TELLS, "-np", "2"), ("-np 2, tested was 1", "it has 2 slots")),
    "log without KV lines": ("good-q8", {}, (*Q8, *NGRAM), ("its log shows no KV cache", "start it with `-lv 4`")),
    "log that is told to be silent": ("good-q8", {}, (*Q8, *NGRAM, "-lv", "1"), ("it logs too little", "(-lv 1)", "`-lv 4`")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_was_started(case, live, asked):
    candidate, env, flags, said = CASES[case]
    live(*flags, env=env)
    kind, words = asked(candidate, reached())
    assert kind == ("BLOCKED" if said else ""), words
    for each in said:
        assert each in words
    if said:
        assert f"is not proven to be {candidate}" in words


class PassingProxy:
    """Passes /props on from another port, as a proxy before a llama-server does; gives its own port."""

    def __init__(self, inner):
        class Passing(BaseHTTPRequestHandler):
            def do_GET(self):
                with urllib.request.urlopen(f"http://127.0.0.1:{inner}{self.path}") as answer:
                    body = answer.read()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Passing)

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self._server.server_port

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


EARLIER = "srv    load_model: loading model 'x'\nllama_kv_cache: size = 1 MiB\nsrv  llama_server: listening on http://127.0.0.1:18720\n"


def test_a_type_that_became_another_is_seen_in_its_bytes(live, asked):
    """As turbo3 that a fork turned into q8_0: command and environment are the candidate's, the cache is not."""

    class Other(AttachedServer):
        def log_text(self):
            return re.sub(
                r"([KV]) \(f16\):\s*([\d.]+)", lambda side: f"{side[1]} (q8_0): {float(side[2]) * 8.5 / 16:.2f}", super().log_text()
            )

    live(*NGRAM, *TELLS, env={K: "f16"})
    server = reached()
    assert asked("good-f16", server) == ("", "")
    kind, words = asked("good-f16", Other(**vars(server)))
    assert kind == "BLOCKED"
    assert re.search(r"its K cache takes [\d.]+ MiB, f16 takes [\d.]+ MiB; its log calls it q8_0; its V cache takes", words), words


def test_without_mmap(live, asked):
    live(*Q8, *NGRAM, *TELLS, "--load-mode", "none")
    assert asked("good-q8", reached()) == ("", "")


def test_a_model_of_the_same_name_is_another(live, asked, tmp_path):
    other = tmp_path / ensure_registry_model("smollm2-135m").name
    content = bytearray(ensure_registry_model("smollm2-135m").read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    live(*Q8, *NGRAM, *TELLS, "-m", str(other))
    kind, words = asked("good-q8", reached())
    assert (kind, f"it runs {other}, and the candidate is" in words) == ("BLOCKED", True), words


def test_what_stands_before_the_server_is_not_the_server(live, asked):
    live(*Q8, *NGRAM, *TELLS)
    with PassingProxy(PORT) as port:
        kind, words = asked("good-q8", attach(f"http://127.0.0.1:{port}", 60.0))
    assert kind == "BLOCKED"
    assert f"it serves port {PORT}" in words  # found as a child of this process, which is the proxy


def test_an_earlier_process_in_the_same_file_is_not_this_one(live, asked):
    live(*Q8, *NGRAM, "-lv", "4", before=EARLIER.replace("size = 1 MiB", "CUDA error: of an earlier process"))
    server = reached()
    assert asked("good-q8", server) == ("", "")
    assert server.log_facts().cuda_errors == 0


def test_a_wrapper_that_executes_the_server_is_the_server(live, asked, tmp_path):
    script = tmp_path / "start-canary"
    script.write_text(f'#!/bin/sh\nexec {build_engine(EngineRequest.named("pinned+tbq")).server} "$@"\n')
    script.chmod(0o755)
    live(*Q8, *NGRAM, *TELLS, program=str(script))
    assert asked("good-q8", reached()) == ("", "")


def test_a_deleted_log_is_still_its_own(live, asked, tmp_path):
    live(*Q8, *NGRAM, *TELLS)
    (tmp_path / "live.log").unlink()
    assert asked("good-q8", reached()) == ("", "")


def test_a_log_that_lost_its_beginning_proves_nothing(live, asked, tmp_path):
    live(*Q8, *NGRAM, *TELLS)
    os.truncate(tmp_path / "live.log", 0)
    server = reached()
    kind, words = asked("good-q8", server)
    assert kind == "INVALID"
    assert "live.log: the log is empty" in words
    assert server.log_facts() is None


def test_a_log_file_of_its_own(live, asked, tmp_path):
    live(*Q8, *NGRAM, *TELLS, "--log-file", str(tmp_path / "own.log"), log=type(tmp_path)("/dev/null"))
    server = reached()
    assert asked("good-q8", server) == ("", "")
    assert server.log_name == str(tmp_path / "own.log")


def test_no_log_at_all(live, asked, tmp_path):
    live(*Q8, *NGRAM, *TELLS, log=type(tmp_path)("/dev/null"))
    kind, words = asked("good-q8", reached())
    assert (kind, "neither to a file nor to a journal" in words) == ("INVALID", True), words


def test_another_process_on_the_port_is_another_server(live, asked):
    first = live(*Q8, *NGRAM, *TELLS)
    server = reached()
    assert server.replaced() == ""
    first.kill()
    first.wait()
    assert server.replaced() == ""  # nobody answers: that is a death, and told as one
    live(*Q8, *NGRAM, *TELLS)
    assert f"the attached process (pid {first.pid}) has ended" in server.replaced()
    assert asked("good-q8", server)[0] == "INVALID"
    assert asked("good-q8", reached()) == ("", "")
