"""What the client takes to read a streamed answer: its CPU time must not be in the speed that it measures.

`data/stream.sse` is an answer of smollm2-135m to a speed prompt, 64 tokens with the server's clock in each event; it is replayed by
another process, event by event.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import Bench, Reading
from fixtures.engine.client import LlamaClient
from fixtures.engine.sse import RawEvent
from fixtures.engine.stream import streamed_answer
from fixtures.measure.clocks import client_clock

_RECORDED = Path(__file__).parent / "data" / "stream.sse"
_TIMES = 16  # how often the recorded answer is replayed within one stream
_REPLAY = """
import socket, sys, time
events = [event + b"\\n\\n" for event in open(sys.argv[1], "rb").read().split(b"\\n\\n") if event]
*parts, end, done = events
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    for event in (*(parts * int(sys.argv[2])), end, done):
        client.sendall(b"%x\\r\\n%s\\r\\n" % (len(event), event))
        time.sleep(0.001)
    client.sendall(b"0\\r\\n\\r\\n")
    client.close()
"""


@contextmanager
def _replayed() -> Iterator[LlamaClient]:
    argv = [sys.executable, "-c", _REPLAY, str(_RECORDED), str(_TIMES)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101 - it is a pipe
        try:
            with LlamaClient(f"http://127.0.0.1:{server.stdout.readline().strip()}", 60) as client:
                yield client
        finally:
            server.kill()


@contextmanager
def _reading() -> Iterator[Reading]:
    with _replayed() as client:

        def read() -> float:
            started = time.process_time()
            events = client.streamed("/v1/chat/completions", {}).events
            return (time.process_time() - started) * 1e6 / len(events)

        yield read


@contextmanager
def _parsing() -> Iterator[Reading]:
    with _replayed() as client:
        events: list[RawEvent] = client.streamed("/v1/chat/completions", {}).events

        def parse() -> float:
            started = time.process_time()
            client_clock(streamed_answer(events, "the replay"), None)
            return (time.process_time() - started) * 1e6 / len(events)

        yield parse


BENCHES = (
    Bench("stream: client CPU per event while it streams", 100, "microseconds", _reading),
    Bench("stream: client CPU per event afterwards", 100, "microseconds", _parsing),
)
