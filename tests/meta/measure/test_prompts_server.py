"""The prompts on a real server: the small models pass them while drafting, under the roughest KV type that owes them."""

from contextlib import contextmanager

import pytest
from support.free_port import free_port

from fixtures.engine.client import LlamaClient
from fixtures.engine.last_words import tail
from fixtures.engine.process import EngineProcess, wait_until
from fixtures.measure.checks import run_checks
from fixtures.measure.prompts import load_prompt, load_speed_set
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

GREEDY = {"temperature": 0, "top_k": 1, "seed": 1, "cache_prompt": False}
LOAD_TIMEOUT_S = 300  # another test may hold the cores; a load takes a second
MAX_TOKENS = 64


@contextmanager
def served(model, kv, log):
    """A server with the local stand-ins' drafting. One thread: spinning threads crawl on a busy machine."""
    engine, path = build_engine(EngineRequest.named("pinned+tbq")), ensure_registry_model(model)
    port = free_port()
    drafting = ["--spec-type", "ngram-mod", "--spec-ngram-mod-n-match", "8", "--spec-ngram-mod-n-min", "4", "--spec-ngram-mod-n-max", "16"]
    flags = ["-c", "8192", "-np", "1", "-fa", "on", "-fit", "off", "-t", "1", "-ctk", kv, "-ctv", kv, "--jinja"]
    argv = [str(engine.server), "-m", str(path), "--host", "127.0.0.1", "--port", str(port), *flags, *drafting]
    with EngineProcess(argv, {"PATH": "/usr/bin:/bin"}, log) as process, LlamaClient(f"http://127.0.0.1:{port}", 600) as client:
        ready = wait_until(lambda: process.exit_status() is not None or client.health() == 200, LOAD_TIMEOUT_S)
        assert ready, f"not loaded after {LOAD_TIMEOUT_S} s\n{tail(log)}"
        assert process.exit_status() is None, f"{process.describe_end()}\n{tail(log, 30)}"
        yield client


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    with served("gemma3-270m", "q4_0", tmp_path_factory.mktemp("gemma") / "server.log") as client:
        yield client


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    with served("smollm2-135m", "q8_0", tmp_path_factory.mktemp("smollm") / "server.log") as client:
        yield client


def complete(client, prompt_id, **changes):
    style = load_prompt(prompt_id).completion
    return client.completion(style.prompt, **{"n_predict": style.max_tokens, "stop": list(style.stop), **GREEDY, **changes})


def converse(client, prompt_id, **changes):
    style = load_prompt(prompt_id).chat
    return client.chat([message.model_dump() for message in style.messages], **{"max_tokens": style.max_tokens, **GREEDY, **changes})


@pytest.mark.parametrize("prompt_id", ["embedded_facts", "repeat_line", "zh_marker"])
def test_a_base_model_passes_while_drafting(gemma, prompt_id):
    reply = complete(gemma, prompt_id)
    faults = [check.detail for check in run_checks(reply.text, load_prompt(prompt_id).completion.checks) if not check.passed]
    assert faults == []
    assert reply.timings.draft_n > 0


def test_an_instruct_model_says_the_marker_while_drafting(smollm):
    reply = converse(smollm, "zh_marker")
    faults = [check.detail for check in run_checks(reply.text, load_prompt("zh_marker").chat.checks) if not check.passed]
    assert faults == []
    assert reply.finish == "stop"
    assert reply.timings.draft_n > 0


def test_a_marker_that_breaks_off_is_seen(smollm):
    reply = converse(smollm, "zh_marker", max_tokens=12)
    exact = run_checks(reply.text, load_prompt("zh_marker").chat.checks)[0]
    assert not exact.passed
    assert "the end instead of" in exact.detail


def test_a_base_model_that_is_not_stopped_fails(gemma):
    """Without its stop text the answer runs on; the check must not be satisfied by a good beginning."""
    reply = complete(gemma, "repeat_line", stop=[], n_predict=160, ignore_eos=True)
    exact = run_checks(reply.text, load_prompt("repeat_line").completion.checks)[0]
    assert not exact.passed
    assert "it has more" in exact.detail


@pytest.mark.parametrize("set_id", ["repetitive-en", "repetitive-zh"])
@pytest.mark.parametrize("api", ["completion", "chat"])
def test_speed_prompts_run_their_full_length_while_drafting(gemma, smollm, set_id, api):
    speed = load_speed_set(set_id)
    for index in range(2):
        text = speed.prompt(index)
        if api == "completion":
            reply = gemma.completion(text, n_predict=MAX_TOKENS, ignore_eos=speed.ignore_eos, **GREEDY)
        else:
            reply = smollm.chat([{"role": "user", "content": text}], max_tokens=MAX_TOKENS, ignore_eos=speed.ignore_eos, **GREEDY)
        assert reply.http_status == 200
        assert reply.timings.predicted_n == MAX_TOKENS
        assert reply.timings.draft_n > 0
