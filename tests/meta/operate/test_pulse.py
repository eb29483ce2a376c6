"""Whether a server produces tokens, asked of servers that do, that spin, that are busy, and that say nothing."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fixtures.operate.pulse import pulse

TOKEN = {"content": "x", "stop_type": "limit", "timings": {"predicted_n": 1, "predicted_ms": 1.0}}
PATIENCE_S = 3.0


class Scripted:
    """A server on a port of its own; `slots` gives what /slots says at each look, None: it never answers."""

    def __init__(self, completion, slots=(), health=200):
        self.ended, looks = threading.Event(), iter(slots)
        ended = self.ended

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/health":
                    return self.say(health, {})
                found = next(looks, None)
                return ended.wait() if found is None else self.say(*found)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                return ended.wait() if completion is None else self.say(*completion)

            def say(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


def slot(task, decoded, *, processing=True):
    return 200, [{"id": 0, "is_processing": processing, "id_task": task, "next_token": [{"n_decoded": decoded}]}]


def found(completion, slots=(), **more):
    with Scripted(completion, slots, **more) as url:
        return pulse(url, "completion", PATIENCE_S)


def test_a_token_is_life():
    assert found((200, TOKEN)).state == "alive"


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ([], "/slots does not answer either: tokens are frozen"),
        ([slot(None, 0, processing=False), *[slot(1, 0)] * 30], "nothing moved in its slots"),
        ([slot(7, 12), slot(7, 13), *[slot(7, 13)] * 30], "nothing moved in its slots"),
    ],
    ids=["spin", "ours was taken up", "moved once"],
)
def test_health_says_200_and_no_token_comes(slots, words):
    beat = found(None, slots)
    assert beat.state == "frozen"
    assert "/health answers 200" in beat.said
    assert words in beat.said


def test_a_server_that_works_for_others_is_busy():
    beat = found(None, [slot(7, tokens) for tokens in range(100)])
    assert beat.state == "alive"
    assert "those of others flowed" in beat.said


def test_without_slots_nobody_can_tell():
    assert found(None, [(501, {})] * 30).state == "unseen"


@pytest.mark.parametrize(
    ("completion", "health", "words"),
    [
        ((500, {"error": "x"}), 200, "HTTP 500"),
        ((200, TOKEN | {"timings": {"predicted_n": 0}}), 200, "got none"),
        ((200, TOKEN), 503, "/health answers 503"),
    ],
)
def test_what_answers_otherwise_is_broken(completion, health, words):
    beat = found(completion, health=health)
    assert beat.state == "broken"
    assert words in beat.said


def test_nobody_is_there():
    with Scripted((200, TOKEN)) as url:
        pass
    began = time.monotonic()
    assert pulse(url, "completion", PATIENCE_S).said == "/health does not answer"
    assert time.monotonic() - began < 60
