"""Keys, tokens and passwords: recognised wherever they stand, and nothing else is taken for one."""

import json
import shlex
from datetime import UTC, datetime

import pytest

from fixtures.engine.command import CommandLine
from fixtures.engine.last_words import tail
from fixtures.engine.logs import read_log, without_strangers_words
from fixtures.engine.slot import HostSlot
from fixtures.host.lock import LockHolder, RunLock, describe_lock, inspect_lock
from fixtures.host.processes import printable_command
from fixtures.records.secrets import is_secret_name, mask_argv, mask_env, mask_record, mask_text

S = "planted"  # every secret of this file holds it

WORDS = [
    (["llama-server", "--api-key", f"{S}-1"], ["llama-server", "--api-key", "***"]),
    (["x", f"http://ann:{S}/13/x@host:8092/v1"], ["x", "http://***@host:8092/v1"]),
    (["x", "http://127.0.0.1:8092/a@b"], ["x", "http://127.0.0.1:8092/a@b"]),
    (["llama-server", f"--api-key={S}-2"], ["llama-server", "--api-key=***"]),
    (["x", "--hf-token", f"{S}-3", "--port", "8092"], ["x", "--hf-token", "***", "--port", "8092"]),
    (["x", "-hft", f"{S}-4"], ["x", "-hft", "***"]),
    (["docker", "run", "-e", f"HF_TOKEN={S} 5 with blanks", "img"], ["docker", "run", "-e", "HF_TOKEN=***", "img"]),
    (["podman", "run", f"--env=OPENAI_API_KEY={S}-6", "img"], ["podman", "run", "--env=OPENAI_API_KEY=***", "img"]),
    (
        ["env", f"AWS_SECRET_ACCESS_KEY={S}/7+", f"AWS_ACCESS_KEY_ID={S}8", "x"],
        ["env", "AWS_SECRET_ACCESS_KEY=***", "AWS_ACCESS_KEY_ID=***", "x"],
    ),
    (["sh", "-c", f"exec llama-server --api-key {S}-9 --port 1"], ["sh", "-c", "exec llama-server --api-key *** --port 1"]),
    (["bash", "-c", f"export HF_TOKEN='{S} ten'; run"], ["bash", "-c", "export HF_TOKEN=***; run"]),
    (["curl", "-H", f"Authorization: Bearer {S}.11"], ["curl", "-H", "Authorization: Bearer ***"]),
    (["curl", "-H", f"X-Api-Key: {S}12"], ["curl", "-H", "X-Api-Key: ***"]),
    (["git", "clone", f"https://me:{S}13@host/r.git"], ["git", "clone", "https://***@host/r.git"]),
    (["x", f"http://{S}14@host:8080/v1"], ["x", "http://***@host:8080/v1"]),
    (["x", "--password", f"{S}15", f"--db-password={S}16"], ["x", "--password", "***", "--db-password=***"]),
    (["x", f'{{"api_key": "{S}17", "n": 5}}'], ["x", '{"api_key": "***", "n": 5}']),
    (["x", f"sk-{S}-1818"], ["x", "***"]),
    (["x", f"hf_{S}19191919"], ["x", "***"]),
    (["x", f"--opts=--metrics --api-key {S}20"], ["x", "--opts=--metrics --api-key ***"]),
]

HARMLESS = [
    "llama-server -m /m/g26.gguf -c 8192 -ngl 99 --cache-type-k q8_0 --keep 5 --max-tokens 64",
    "--ssl-key-file /etc/k.pem --api-key-file /etc/keys --jinja --special --no-warmup",
    "EOS token        = 1 '</s>', BOS token: 2, n_tokens = 5, prompt eval 12 tokens, 3.1 tokens/s",
    "task-abcdefghijkl desk-12345678 monkey=5 compass=2 turkey = 4 keyboard=us author=me",
    "http://127.0.0.1:8092/v1/models ssh me@host.example git@github.com:a/b",
    "GGML_CUDA_DISABLE_GRAPHS=1 LLAMA_ARG_PORT=8088 TURBO_AUTO_ASYMMETRIC=0 PWD=/root KEY_FILE=/a",
    "size =   89.84 MiB (  8192 cells,  30 layers,  1/1 seqs), K (turbo3):   44.92 MiB, V (turbo3):   44.92 MiB",
    "the token that the model picked, and the key to it; basic arithmetic; bearers of news",
]


@pytest.mark.parametrize(("argv", "shown"), WORDS)
def test_command_line(argv, shown):
    assert list(mask_argv(argv)) == shown
    assert S not in printable_command(argv)
    assert S not in mask_text(" ".join(argv))
    assert S not in mask_text(shlex.join(argv))


@pytest.mark.parametrize("argv", [argv for argv, _ in WORDS])
def test_masking_what_was_masked_changes_nothing(argv):
    once = printable_command([*argv, "--port", "8092"])
    assert mask_text(once) == once
    assert once.endswith("--port 8092")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(text):
    assert mask_text(text) == text
    assert list(mask_argv(text.split())) == text.split()


@pytest.mark.parametrize("name", ["HF_TOKEN", "LLAMA_API_KEY", "api_key", "PGPASSWORD", "AWS_KEY", "DB_PASS", "X_AUTH", "KEY"])
def test_secret_name(name):
    assert is_secret_name(name)
    assert mask_env({name: S}) == {name: "***"}


@pytest.mark.parametrize("name", ["max_tokens", "KEY_FILE", "monkey", "PWD", "author", "k_type", "keep", "key", "GGML_CUDA_DISABLE_GRAPHS"])
def test_name_of_no_secret(name):
    assert not is_secret_name(name)
    assert mask_env({name: "8192"}) == {name: "8192"}


def test_environment():
    env = {"PATH": "/bin", "HF_TOKEN": S, "LLAMA_OPTS": f"--metrics --api-key {S}", "EMPTY_KEY": "", "PROXY": f"http://u:{S}@p:1"}
    assert mask_env(env) == {
        "PATH": "/bin",
        "HF_TOKEN": "***",
        "LLAMA_OPTS": "--metrics --api-key ***",
        "EMPTY_KEY": "",
        "PROXY": "http://***@p:1",
    }


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN RSA PRIVATE KEY-----\nMII{S}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{S} cut off",
        f"HF_TOKEN: {S}\nport: 5",
        f'Environment="LLAMA_OPTS=--metrics --api-key {S}"',
        f"ExecStart=/bin/bash -c 'exec llama-server --port 8089 --api-key {S}'",
        f"--api-key={S} and --api-key '{S} two' and --api-key \"{S} three\"",
        f"--api-key {S}\\ four",
        f'authorization: Basic {S}==, "Authorization": "Bearer {S}"',
        f"GET /x?api_key={S}&n=5",
        f"ghp_{S}1234567890123456",
        f"eyJhbGciOi.{S}abcd.{S}",
        f"Set-Cookie: session={S}; Path=/",
        f"password: {S}",
        f"api_key: {S}",
        f"SSHPASS={S} ssh host",
        f"curl -u admin:{S} http://host",
        f"curl --user=admin:{S} http://host",
    ],
)
def test_text(text):
    assert S not in mask_text(text)
    assert "***" in mask_text(text)


def test_record_keeps_what_was_measured_and_masks_the_rest():
    raw = {
        "running": ["llama-server", "--api-key", S, "--port", "1"],
        "environment": {"HF_TOKEN": S, "PATH": "/bin"},
        "differences": [f"the unit sets HF_TOKEN={S}, tested was without it"],
        "rows": [{"item": "key", "subject": "guard.lock", "problem": f"http://u:{S}@h", "n": 5, "ok": True, "none": None}],
        "answer": "say --api-key demo",
        "request": {"prompt": "what does --api-key demo do?"},
    }
    masked = mask_record(raw)
    assert S not in json.dumps(masked)
    assert (masked["answer"], masked["request"]) == (raw["answer"], raw["request"])
    assert masked["running"] == ["llama-server", "--api-key", "***", "--port", "1"]
    assert masked["rows"] == [{"item": "key", "subject": "guard.lock", "problem": "http://***@h", "n": 5, "ok": True, "none": None}]


def test_launches_are_recorded_without_secrets(tmp_path):
    written = []
    env = {"HF_TOKEN": S, "PATH": "/usr/bin:/bin"}
    with HostSlot(written.append) as slot:
        command = CommandLine(argv=("/bin/sh", "-c", "exit 0", "x", "--api-key", S), env=env, policy_env={})
        slot.run_program(("c", "arm"), command, tmp_path / "x.log", 20.0)
    assert len(written) == 2
    assert S not in "".join(launch.model_dump_json() for launch in written)


def test_quoted_log_and_lock_show_no_secret(tmp_path):
    log = tmp_path / "server.log"
    log.write_text(f"main: --api-key {S}\nloading\nfailed: Authorization: Bearer {S}abc\n", encoding="utf-8")
    assert S not in tail(log)
    assert "loading" in tail(log)
    lock = tmp_path / "run.lock"
    holder = LockHolder(pid=1, name="init", command=f"bench --api-key {S}", since=datetime(2026, 5, 14, tzinfo=UTC))
    lock.write_text(holder.model_dump_json(), encoding="utf-8")
    assert inspect_lock(lock).status == "held"
    assert S not in describe_lock(inspect_lock(lock)) + inspect_lock(lock).model_dump_json()
    lock.write_text(f"HF_TOKEN={S} ./bench.sh of wayne", encoding="utf-8")
    assert S not in describe_lock(inspect_lock(lock))
    with RunLock(tmp_path / "other.lock"):
        pass


PROMPTS = [
    f'srv  log_server_r: request: {{"prompt": "my password is {S}, why CUDA error: out of memory?"}}',
    f"slot update: prompt = what does GGML_ASSERT(x) mean, asks {S}",
    f"chat: {S} says: error loading model, unable to load model",
    f"CUDA error: the user {S} saw it",
    f"couldn't bind, wrote {S}",
    f"nothing special, {S}",
]


@pytest.mark.parametrize("line", PROMPTS)
def test_of_a_live_servers_log_only_recognised_words_are_quoted(line):
    facts = without_strangers_words(read_log(line))
    assert S not in facts.model_dump_json()
    assert len(facts.fatal) == len(read_log(line).fatal)
