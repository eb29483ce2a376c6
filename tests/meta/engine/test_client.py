"""The typed client, on a real server and on answers that no server should give."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fixtures.engine.client import ClientError, LlamaClient
from fixtures.engine.command import CommandLine
from fixtures.engine.server import LaunchPlan, launch, one_token
from fixtures.models.registry import ensure_registry_model
from llama_build import EngineRequest, build_engine

PORT = 18490
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    engine, model = build_engine(EngineRequest.named("pinned+tbq")), ensure_registry_model("smollm2-135m")
    flags = ("-c", "1024", "-np", "1", "-t", "1", "--metrics", "--jinja", "--spec-type", "ngram-mod", "--alias", "the-client-test")
    argv = (str(engine.server), "-m", str(model), "--port", str(PORT), *flags)
    command = CommandLine(argv=argv, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}, policy_env={})
    with launch(LaunchPlan(command, PORT, "the-client-test", model, folder / "server.log", 60.0, 60.0, 5.0)) as running:
        yield running


@pytest.mark.runtime
def test_what_a_real_server_answers(server):
    client = server.client
    assert client.health() == 200
    assert client.props().default_generation_settings.n_ctx == 1024
    assert [slot.speculative for slot in client.slots()] == [True]
    tokens = client.tokenize("Hello Hello")
    assert len(tokens) >= 2
    assert client.metrics()["llamacpp:tokens_predicted_total"] >= 1


@pytest.mark.runtime
def test_an_answer_has_its_text_and_timings(server):
    reply = server.client.chat(HELLO, max_tokens=24, temperature=0)
    assert reply.http_status == 200
    assert reply.text
    assert reply.timings is not None
    assert reply.timings.predicted_n > 0


@pytest.mark.runtime
def test_a_refused_request_is_a_reply_with_its_status(server):
    reply = server.client.chat([{"role": "user", "content": "x " * 4000}], max_tokens=1)
    assert reply.http_status == 400
    assert "context" in reply.text


class Odd(BaseHTTPRequestHandler):
    """Answers whatever the path asks for."""

    bodies = {  # noqa: RUF012
        "/props": b'{"model_path": ["not", "text"]}',
        "/tokenize": b"[1, 2]",
        "/slots": b'{"error": "disabled"}',
        "/completion": b'{"content": "\xff"}',
        "/v1/chat/completions": b'{"choices": []}',
    }

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.bodies.get(self.path, b"<html>hello</html>"))

    do_GET = do_POST = answer  # noqa: N815 - names that the base class calls

    def log_message(self, *args):
        pass


@pytest.fixture
def odd():
    with HTTPServer(("127.0.0.1", 0), Odd) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        with LlamaClient(f"http://127.0.0.1:{http.server_port}") as client:
            yield client
        http.shutdown()


def test_answers_that_break_the_api_are_one_message(odd):
    for call, said in (
        (odd.props, "unexpected Props answer"),
        (odd.slots, "expected a list of slots"),
        (lambda: odd.tokenize("x"), "expected a JSON object"),
        (lambda: odd.completion("x"), "server fault: bytes that are not UTF-8"),
        (lambda: odd.chat(HELLO), "has no text where the API puts it"),
    ):
        with pytest.raises(ClientError) as error:
            call()
        assert said in str(error.value)


def test_lone_surrogates_stay_recordable(odd):
    Odd.bodies["/completion"] = b'{"content": "a\\ud800b"}'
    reply = odd.completion("x")
    assert reply.text == "a\\ud800b"
    Odd.bodies["/completion"] = b'{"content": "\xff"}'


def test_nobody_there():
    client = LlamaClient("http://127.0.0.1:9")
    assert client.health() == 0
    with client, pytest.raises(ClientError, match="is the server still alive"):
        client.props()


class Recorded:
    """A client that answers, and notes how it was asked."""

    def __init__(self, template):
        self.template, self.asked = template, []

    def templated(self, messages):
        assert messages == [{"role": "user", "content": "Hi"}]
        return self.template

    def chat(self, messages, **params):
        self.asked.append(("chat", messages[0]["content"], params["max_tokens"]))

    def completion(self, prompt, **params):
        self.asked.append(("completion", prompt, params["n_predict"]))


@pytest.mark.parametrize(
    ("api", "template", "asked"),
    [
        ("completion", "<user>Hi<model>", ("completion", "Hi", 1)),
        ("chat", "<user>Hi<model>", ("completion", "<user>Hi<model>", 1)),
        ("chat", None, ("chat", "Hi", 1)),
    ],
)
def test_the_first_token_is_asked_for_as_the_models_api_asks(api, template, asked):
    """A bare "Hi" made scripted twins begin with half a character: HTTP 500 on forks, and every twin failed."""
    client = Recorded(template)
    one_token(client, api)
    assert client.asked == [asked]


@pytest.mark.runtime
def test_a_servers_own_template_is_asked_for(server):
    assert server.client.templated(HELLO).endswith("Say hello.<|im_end|>\n<|im_start|>assistant\n")
