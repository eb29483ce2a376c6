"""A proxy in front of a real llama-server that falsifies its answers by one rule at a time.

    with FaultProxy(upstream=18087) as proxy:            # listens on a port of its own
        proxy.rule = Rule("/completion", status=500)     # every such answer, until the rule is changed
        LlamaClient(proxy.url).completion("Hi")

What no rule touches passes unchanged; a stream passes as it comes, event by event. Only the standard library is imported:
`launcher.py` runs this file inside a launched engine, too.
"""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TIMEOUT_S = 600
_OWN = ("content-length", "transfer-encoding", "connection", "keep-alive")


@dataclass(frozen=True)
class Rule:
    """What is falsified in answers whose path begins with `path`.

    `after`: so many of them pass unchanged first; `times`: so many are falsified then (None: all). `hold`: seconds before it is sent on.
    `over`: only of requests of more bytes than that.
    `request` replaces keys of what is asked, `status` the HTTP status, `replace` text of
    the body (old, new), `values` keys of the JSON body ("timings.draft_n" -> value; None removes the key). `tear` is a text that loses
    its last byte. Of a stream, event by event: `values`, `replace` and `tear` as above, `drop_event` leaves out the event of that
    number, `end_after` everything behind that many events, `scale` multiplies numbers ("timings.predicted_ms" -> 0.92), and `slower`
    keeps each event behind the `slow_after`th back until so many times what the server's clock says since then has gone by (1.1: a
    tenth slower).
    """

    path: str = "/"
    after: int = 0
    times: int | None = None
    hold: float = 0.0
    over: int = 0
    status: int | None = None
    replace: tuple[str, str] | None = None
    values: dict = field(default_factory=dict)
    drop_event: int | None = None
    end_after: int | None = None
    tear: str = ""
    slower: float = 1.0
    slow_after: int = 0
    scale: dict = field(default_factory=dict)
    request: dict = field(default_factory=dict)

    def event(self, data):
        """The falsified data of one event of a stream."""
        if data == b"[DONE]":
            return data
        return self.with_texts(json.dumps(_scaled(json.loads(data), self.scale)).encode() if self.scale else data, new=False)

    def with_texts(self, body, new=True):
        """The body with other text and other values; `new`: also where there were none."""
        if self.replace:
            body = body.replace(*(text.encode() for text in self.replace))
        if self.tear:
            body = body.replace(self.tear.encode(), self.tear.encode()[:-1])
        return json.dumps(_with_values(json.loads(body), self.values, new)).encode() if self.values else body


class FaultProxy(ThreadingHTTPServer):
    """Use as a context manager. `rule` may be changed at any time; `on_request(path)` is called before each is sent on.

    `listener`: a socket that listens already, in place of one of its own.
    """

    daemon_threads = True

    def __init__(self, upstream, listener=None, rule=None, on_request=lambda path: None):
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=listener is None)
        if listener:
            self.socket.close()
            self.socket, self.server_address = listener, listener.getsockname()
        self.upstream, self.on_request = upstream, on_request
        self._rule, self._matched = rule, 0
        self._lock = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def rule(self):
        return self._rule

    @rule.setter
    def rule(self, rule):
        with self._lock:
            self._rule, self._matched = rule, 0

    def rule_for(self, path, length):
        """The rule where it is this answer's turn, else None."""
        with self._lock:
            if self._rule is None or not path.startswith(self._rule.path) or length < self._rule.over:
                return None
            self._matched += 1
            last = self._matched if self._rule.times is None else self._rule.after + self._rule.times
            return self._rule if self._rule.after < self._matched <= last else None


class _Handler(BaseHTTPRequestHandler):
    def _pass_on(self):
        server = self.server
        server.on_request(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream, timeout=_TIMEOUT_S)
        rule = server.rule_for(self.path, length)
        if rule:
            time.sleep(rule.hold)
        try:
            upstream.request(self.command, self.path, *self._asked(rule, self.rfile.read(length)))
            answer = upstream.getresponse()
            if answer.headers.get_content_type() == "text/event-stream":
                self._stream(answer, rule)
                return
            status, body, headers = answer.status, answer.read(), answer.getheaders()
        except (OSError, http.client.HTTPException):
            return  # the server is not there: to its client it looks as it is, a connection that closes
        finally:
            upstream.close()
        if rule:
            status, body = rule.status or status, rule.with_texts(body)
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _asked(self, rule, body):
        """Body and headers of the request, falsified."""
        headers = dict(self.headers)
        if rule and rule.request and body:
            body = json.dumps(_with_values(json.loads(body), rule.request)).encode()
            headers["Content-Length"] = str(len(body))
        return body, headers

    def _stream(self, answer, rule):
        """The events as they come, each when and as the rule has it; the connection's end is the stream's."""
        if rule and rule.status:
            self.send_error(rule.status)
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        number, since = -1, None
        for line in answer:
            if not line.startswith(b"data:"):
                continue
            number += 1
            if rule and (number == rule.drop_event or (rule.end_after is not None and number >= rule.end_after)):
                continue
            data = line[5:].strip()
            if rule and rule.slower > 1 and number >= rule.slow_after and (clock := _predicted_s(data)) is not None:
                since = since or (time.monotonic(), clock)
                time.sleep(max(0.0, since[0] + rule.slower * (clock - since[1]) - time.monotonic()))
            self.wfile.write(b"data: " + (rule.event(data) if rule else data) + b"\n\n")

    do_GET = do_POST = _pass_on  # noqa: N815 - names of the standard library

    def log_message(self, *_):
        """Nothing: the engine's log stays its own."""


def _predicted_s(data):
    """The server's own clock in an event of a stream that tells it."""
    timings = {} if data == b"[DONE]" else json.loads(data).get("timings", {})
    return timings["predicted_ms"] / 1000 if "predicted_ms" in timings else None


def _scaled(answer, scale):
    for place, factor in scale.items():
        inner, key = _place(answer, place)
        if isinstance(inner.get(key), int | float):
            inner[key] = type(inner[key])(inner[key] * factor)
    return answer


def _with_values(answer, values, new=True):
    """`new`: a place that is not there is made."""
    for place, value in values.items():
        inner, key = _place(answer, place)
        if value is None:
            inner.pop(key, None)
        elif new or isinstance(inner, list) or key in inner:
            inner[key] = value
    return answer


def _place(answer, place):
    """The table that "timings.draft_n" or "choices.0.delta.content" stands in, and its key there."""
    *parents, key = place.split(".")
    for parent in parents:
        answer = answer[int(parent)] if isinstance(answer, list) else answer.setdefault(parent, {})
    return answer, int(key) if isinstance(answer, list) else key
