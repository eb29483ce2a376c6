"""A real server of the TBQ engine for meta tests, and what it thinks the next token is."""

import math
from contextlib import contextmanager

import httpx

from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, launch
from llama_build import EngineRequest, build_engine

TOP = 200  # tokens that a distribution names


class Served:
    """One running server."""

    def __init__(self, running):
        self.running = running
        self.http = httpx.Client(base_url=running.client.base_url, timeout=300, trust_env=False)

    def complete(self, prompt, **params):
        """`/completion`, greedy, one token unless told otherwise, with the distribution of each."""
        body = {"prompt": prompt, "n_predict": 1, "n_probs": TOP, "temperature": 0, "top_k": 1, **params}
        return self.http.post("/completion", json=body).raise_for_status().json()

    def next_token(self, prompt, **params):
        """What the model expects after `prompt`."""
        return distributions(self.complete(prompt, **params))[0]

    def slot(self, action, file):
        """Save or restore slot 0."""
        return self.http.post("/slots/0", params={"action": action}, json={"filename": file})


@contextmanager
def served(model, port, log, k_type, v_type, *flags):
    """Raises LaunchFailed, as `launch` does."""
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    alias = f"tbq-{port}"
    common = ("--port", str(port), "-t", "1", "-fa", "on", "-fit", "off", "-lv", "4", "--alias", alias, "-ctk", k_type, "-ctv", v_type)
    command = CommandLine(argv=(str(server), "-m", str(model), *common, *flags), env={"PATH": "/usr/bin:/bin"}, policy_env={})
    with launch(LaunchPlan(command, port, alias, model, log, 120.0, 300.0, 10.0)) as running:
        server = Served(running)
        with server.http:
            yield server


def distributions(answer):
    """Of each generated token."""
    return [{top["id"]: math.exp(top["logprob"]) for top in step["top_logprobs"]} for step in answer["completion_probabilities"]]


def divergence(base, other):
    """KL divergence in nats over the tokens that `base` names; one that `other` does not name counts as its least likely named one."""
    least = min(other.values())
    return sum(p * math.log(p / other.get(token, least)) for token, p in base.items() if p > 0)
