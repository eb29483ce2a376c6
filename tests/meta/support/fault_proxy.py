"""A proxy in front of a real llama-server that falsifies its answers by one rule at a time.

    with FaultProxy(upstream=18087) as proxy:            # listens on a port of its own
        proxy.rule = Rule("/completion", status=500)     # every such answer, until the rule is changed
        LlamaClient(proxy.url).completion("Hi")

What no rule touches passes unchanged, streams included. Only the standard library is imported: `launcher.py` runs this file
inside a launched engine, too.
"""

import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TIMEOUT_S = 600
_OWN = ("content-length", "transfer-encoding", "connection", "keep-alive")


@dataclass(frozen=True)
class Rule:
    """What is falsified in answers whose path begins with `path`.

    `after`: so many of them pass unchanged first. `status` replaces the HTTP status, `replace` text of the body (old, new), `values`
    keys of the JSON body ("timings.draft_n" -> value; None removes the key). Of a stream: `drop_event` leaves out the event of that
    number, `end_after` everything behind that many events.
    """

    path: str = "/"
    after: int = 0
    status: int | None = None
    replace: tuple[str, str] | None = None
    values: dict = field(default_factory=dict)
    drop_event: int | None = None
    end_after: int | None = None

    def body(self, body):
        """The falsified body."""
        if self.replace:
            body = body.replace(*(text.encode() for text in self.replace))
        if self.values:
            body = json.dumps(_with_values(json.loads(body), self.values)).encode()
        if self.drop_event is not None or self.end_after is not None:
            body = b"\n\n".join(self._events(body.split(b"\n\n")))
        return body

    def _events(self, events):
        kept = [event for number, event in enumerate(events) if number != self.drop_event]
        return kept if self.end_after is None else [*kept[: self.end_after], b""]


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

    def rule_for(self, path):
        """The rule where it is this answer's turn, else None."""
        with self._lock:
            if self._rule is None or not path.startswith(self._rule.path):
                return None
            self._matched += 1
            return self._rule if self._matched > self._rule.after else None


class _Handler(BaseHTTPRequestHandler):
    def _pass_on(self):
        server = self.server
        server.on_request(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream, timeout=_TIMEOUT_S)
        try:
            upstream.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
            answer = upstream.getresponse()
            status, body, headers = answer.status, answer.read(), answer.getheaders()
        except (OSError, http.client.HTTPException):
            return  # the server is not there: to its client it looks as it is, a connection that closes
        finally:
            upstream.close()
        if rule := server.rule_for(self.path):
            status, body = rule.status or status, rule.body(body)
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _pass_on  # noqa: N815 - names of the standard library

    def log_message(self, *_):
        """Nothing: the engine's log stays its own."""


def _with_values(answer, values):
    for place, value in values.items():
        *parents, key = place.split(".")
        inner = answer
        for parent in parents:
            inner = inner.setdefault(parent, {})
        if value is None:
            inner.pop(key, None)
        else:
            inner[key] = value
    return answer
