#!/usr/bin/env python3
"""The server with tbq caches on the GPU against the CPU: server_check.py BIN MODEL OUT [TEXT].

Each cache is asked the same things of both: four requests at once in slots of their own (`--parallel 4`, not unified), a context
shift in the middle of an answer, and an answer that goes on after its slot was saved, erased and restored. A grammar forces the same
text on both sides, so their distributions can be compared token by token. One line of JSON for each cache and scenario: mean and
largest KL divergence of the GPU from the CPU (nats), share of equal first choices, and what the cache itself costs on the CPU
(divergence from F16), which is what the first number must be small against. A restored slot is also compared with itself unsaved.
MODEL: a twin with single characters as tokens and a vocabulary of about 1000 (`full_twin.py e4b --layers 12 --vocabulary 1024`).
With TEXT, a file of prompts, MODEL is any model and says what it wants, and only the first choices count: `same_until`.
"""

from __future__ import annotations

import http.client
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

CACHES = ["f16:f16", "q8_0:q8_0", "tbq3_0:tbq3_0", "tbq3_0:tbq4_0", "tbq4_0:tbq4_0"]
TOKENS = 1024  # at least the vocabulary
BYTES = [[token, False] for token in range(4, 260)]  # a character also has a byte token: one spelling only
TEXT = "the quick brown fox jumps over the lazy dog and then it sleeps in the sun while the river runs to the sea ".replace(" ", "_")
PROSE = Path(sys.argv[4]).read_text(encoding="utf-8") if len(sys.argv) > 4 else ""
Dists = list[dict[int, float]]


def text(seed: int, length: int) -> str:
    """Characters that do not repeat soon, other ones for each seed; of a file about as many tokens."""
    if PROSE:
        return PROSE[seed * 1500 : seed * 1500 + 3 * length]
    state, out = seed + 1, []
    for i in range(length):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(TEXT[(i + state // 2**16 % 7 * 13) % len(TEXT)])
    return "".join(out)


class Server:
    """A llama-server of `binaries`, up and answering."""

    def __init__(self, binaries: Path, model: Path, port: int, arguments: list[str], log: Path) -> None:
        self._port = port
        command = [str(binaries / "llama-server"), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "--no-warmup"]
        self._log = log.open("w")
        self._process = subprocess.Popen([*command, "-fa", "on", "-fit", "off", *arguments], stdout=self._log, stderr=subprocess.STDOUT)
        for _ in range(600):
            if self._process.poll() is not None:
                raise SystemExit(f"the server ended at once: see {log}")
            with suppress(OSError):
                if self._ask("GET", "/health")[0] == http.client.OK:
                    return
            time.sleep(0.1)
        raise SystemExit(f"the server did not start: see {log}")

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer, of whatever form."""
        status, answer = self._ask("POST", path, json.dumps(body))
        if status != http.client.OK:
            raise SystemExit(f"{path} answered {status}: {answer[:300]!r}")
        return dict(json.loads(answer))

    def forced(self, prompt: str, answer: str, slot: int = 0) -> Dists:
        """The distribution at each token of the answer that the grammar allows."""
        if PROSE:
            return self._free(prompt, 2 * len(answer) // 3, slot)
        body = {"prompt": prompt, "n_predict": len(answer), "temperature": 0, "n_probs": TOKENS, "id_slot": slot, "cache_prompt": True}
        got = self.post("/completion", body | {"grammar": f'root ::= "{answer}"', "logit_bias": BYTES, "ignore_eos": True})
        if got["content"] != answer:
            raise SystemExit(f"the grammar did not hold: {got['content']!r} for {answer!r}")
        return [{top["id"]: top["logprob"] for top in step["top_logprobs"]} for step in got["completion_probabilities"]]

    def _free(self, prompt: str, tokens: int, slot: int) -> Dists:
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0,
            "n_probs": 1,
            "id_slot": slot,
            "cache_prompt": True,
            "ignore_eos": True,
        }
        return [{step["id"]: 0.0} for step in self.post("/completion", body)["completion_probabilities"]]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def parallel(server: Server) -> Dists:
    """Four at once."""
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda slot: server.forced(text(slot, 300 + 100 * slot), text(slot + 10, 40), slot), range(4))
        return [dist for part in parts for dist in part]


def shifted(server: Server) -> Dists:
    """The context of 768 is full after 168 of 240 tokens; only those after the shift count."""
    return server.forced(text(20, 600), text(21, 240))[176:]


def restored(server: Server) -> Dists:
    """The second half of an answer, in the slot as it was and in the slot restored."""
    prompt, first, second = text(30, 500), text(31, 32), text(32, 32)
    server.forced(prompt, first)
    server.post("/slots/0?action=save", {"filename": "slot.bin"})
    unsaved = server.forced(prompt + first, second)
    server.post("/slots/0?action=erase", {})
    got = server.post("/slots/0?action=restore", {"filename": "slot.bin"})
    if got["n_restored"] < 300:
        raise SystemExit(f"restored only {got}")
    return unsaved + server.forced(prompt + first, second)


# what a slot's SWA cache forgot cannot be shifted or gone back to
ONE_SLOT = ["--parallel", "1", "--swa-full"]
SCENARIOS: list[tuple[str, Callable[[Server], Dists], list[str]]] = [
    ("parallel 4", parallel, ["--parallel", "4", "--no-kv-unified", "-c", "4096"]),
    ("context shift", shifted, [*ONE_SLOT, "-c", "768", "--context-shift", "--keep", "8"]),
    ("save and restore", restored, [*ONE_SLOT, "-c", "2048"]),
]


def divergence(base: Dists, other: Dists) -> dict[str, float]:
    """Of `other` from `base`."""
    each = [sum(math.exp(p) * (p - q[token]) for token, p in b.items() if token in q and p > -60) for b, q in zip(base, other, strict=True)]
    same = [max(b, key=b.__getitem__) == max(q, key=q.__getitem__) for b, q in zip(base, other, strict=True)]
    choices = {"same_until": [*same, False].index(False), "same": round(sum(same) / len(same), 3), "tokens": len(same)}
    return choices if PROSE else {"mean": round(sum(each) / len(each), 6), "max": round(max(each), 6), **choices}


def main() -> None:
    """Both sides at once; a line as soon as both have it."""
    binaries, model, out = map(Path, sys.argv[1:4])
    got: dict[tuple[str, str, str], Dists] = {}
    written = threading.Lock()

    def side(name: str, port: int, arguments: list[str]) -> None:
        for cache in CACHES:
            k_type, v_type = cache.split(":")
            for title, scenario, more in SCENARIOS:
                with tempfile.TemporaryDirectory() as slots:
                    log = out / f"server-{name}-{k_type}-{v_type}-{title.split()[0]}.log"
                    full = [*arguments, *more, "-ctk", k_type, "-ctv", v_type, "--slot-save-path", slots]
                    server = Server(binaries, model, port, full, log)
                    try:
                        result = scenario(server)
                    finally:
                        server.close()
                with written:
                    got[name, cache, title] = result
                    report(cache, title)

    def report(cache: str, title: str) -> None:
        if ("cpu", cache, title) not in got or ("gpu", cache, title) not in got:
            return
        cpu, device = got["cpu", cache, title], got["gpu", cache, title]
        line: dict[str, object] = {"cache": cache, "scenario": title, "gpu_from_cpu": divergence(cpu, device)}
        line["cpu_from_f16"] = divergence(got["cpu", "f16:f16", title], cpu)
        if title == "save and restore":
            half = len(device) // 2
            line["restored_from_unsaved"] = {"cpu": divergence(cpu[:half], cpu[half:]), "gpu": divergence(device[:half], device[half:])}
        print(json.dumps(line), flush=True)

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(side, "cpu", 18801, ["-dev", "none", "-ngl", "0"]), pool.submit(side, "gpu", 18802, ["-ngl", "99"])]
        for job in jobs:
            job.result()


main()
