"""Units that start a container, and units that hide what they start: the tested image counts, whatever is hidden is named."""

import pytest
from support.installed_units import POLICY, PORT, fake_tool, same

DIGEST = "sha256:" + "a" * 64


# -- containers


def contained(bench, image, *, port=PORT, tool="podman", more=""):
    line = bench.line({"-m": "/models/target.gguf", "-md": "/models/drafter.gguf", "--host": "0.0.0.0", "--port": "8080"})  # noqa: S104
    words = line.partition(" ")[2]
    env = " ".join(f"-e {name}={value}" for name, value in POLICY.items())
    options = f"--rm --name llama --gpus all -p 127.0.0.1:{port}:8080 -v {bench.folder}/models:/models:ro {env} {more}"
    bench.install(f"/usr/bin/{tool} run {options} {image} {words}", {})


def test_the_tested_image(bench):
    bench.tested = type(bench.tested)(**{**bench.tested.__dict__, "digest": DIGEST})
    contained(bench, f"ghcr.io/x/llama@{DIGEST}")
    assert same(bench.found())


def test_another_image_is_hidden_and_named(bench):
    contained(bench, f"ghcr.io/x/llama@{DIGEST}")
    found = bench.found()
    assert found.differences == []
    assert DIGEST in found.hidden[0]
    assert "is no container" in found.hidden[0]


def test_an_image_whose_digest_nobody_knows(bench, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    contained(bench, "ghcr.io/x/llama:latest", tool="docker")
    assert "ghcr.io/x/llama:latest, whose digest is not known here" in bench.found().hidden[0]


def test_the_digest_is_asked_of_the_tool(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", fake_tool(tmp_path / "bin", "podman", f"[ghcr.io/x/llama@{DIGEST}]"))
    bench.tested = type(bench.tested)(**{**bench.tested.__dict__, "digest": DIGEST})
    contained(bench, "ghcr.io/x/llama:latest")
    assert same(bench.found())


def test_the_hosts_side_of_a_published_port_counts(bench):
    contained(bench, f"ghcr.io/x/llama@{DIGEST}", port=9999)
    assert "serves port 9999, the catalog says 18795" in bench.found().differences[0]


def test_another_file_behind_a_mount(bench):
    bench.file("elsewhere/target.gguf", "another")
    contained(bench, f"x@{DIGEST}", more=f"-v {bench.folder}/elsewhere/target.gguf:/models/target.gguf")
    assert "has -m /models/target.gguf" in bench.found().differences[0]


# -- what hides the answer


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("/usr/local/bin/llama-server-wrapper.sh", "the script /usr/local/bin/llama-server-wrapper.sh"),
        ("/bin/bash -lc 'source /opt/llama/env.sh && exec llama-server --port 1'", "source /opt/llama/env.sh"),
        ("/bin/sh -c 'exec llama-server $(cat /etc/args)'", "$(cat /etc/args)"),
        ("/bin/sh -c 'llama-server | logger'", "| logger"),
        ("/usr/bin/python3 /opt/serve.py", "python3"),
        ("/usr/bin/docker start llama", "docker start"),
        ("/usr/bin/strace -f /opt/llama/llama-server -m x", "`strace`"),
        ("/usr/bin/docker run --strange x y", "docker run --strange"),
        ("/opt/llama-server --port 80%i", "%i"),
    ],
)
def test_what_cannot_be_read_is_named(bench, start, said):
    bench.install(start, {})
    assert any(said in each for each in bench.found().hidden)


def test_a_missing_environment_file_hides_what_is_not_said(bench):
    bench.install(bench.line(drop=("-c",)), extra="EnvironmentFile=/etc/llama/26b.env")
    found = bench.found()
    assert found.differences == []
    assert "EnvironmentFile=/etc/llama/26b.env" in found.hidden[0]


def test_what_is_seen_to_differ_differs_behind_a_hidden_part_too(bench):
    bench.install(bench.line({"-ctk": "f16"}), extra="EnvironmentFile=/etc/llama/26b.env")
    assert "has -ctk f16" in bench.found().differences[0]


@pytest.mark.parametrize("setting", ["RootDirectory=/srv/root", "BindPaths=/a:/b", "PassEnvironment=CUDA_VISIBLE_DEVICES"])
def test_settings_that_change_what_paths_and_variables_mean(bench, setting):
    bench.install(bench.line(), extra=setting)
    assert setting.partition("=")[0] in bench.found().hidden[0]


def test_keys_are_told_to_nobody(bench):
    bench.install(bench.line(more=("--api-key", "sk-qa-AAAA1111")), POLICY | {"LLAMA_API_KEY": "sk-qa-BBBB2222"})
    found = bench.found()
    assert same(found)
    assert "sk-qa" not in str(found)
    for more in (("--secret", "sk-qa-CCCC"), ("--secret=sk-qa-CCCC",), ("--api-key=sk-qa-CCCC",)):
        bench.install(bench.line(more=more))
        found = bench.found()
        assert found.differences
        assert "sk-qa" not in str(found)


# -- what surrounds the command


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("ExecStartPre=/bin/cp /m/newer.gguf /m/target.gguf", "ExecStartPre=/bin/cp"),
        ("ExecStartPre=-/bin/sh -c 'ln -sf /opt/new /opt/llama'", "ExecStartPre=/bin/sh"),
        ("ExecCondition=/usr/local/bin/choose-model", "may change what it finds"),
        ("ExecStartPre=/usr/bin/docker run --rm -v /m:/m busybox cp /m/new /m/old", "may change what it finds"),
        ("CPUQuota=10%", "CPUQuota=10% "),
        ("AllowedCPUs=0", "limits the server"),
        ("MemoryHigh=1G", "limits the server"),
        ("LimitAS=1M", "limits the server"),
        ("RuntimeMaxSec=60", "limits the server"),
        ("PrivateNetwork=yes", "a network of its own"),
        ("NetworkNamespacePath=/run/netns/x", "a network of its own"),
    ],
)
def test_what_makes_it_run_otherwise_is_named(bench, setting, said):
    bench.install(bench.line(), extra=setting)
    found = bench.found()
    assert found.differences == []
    assert any(said in each for each in found.hidden), found.hidden


@pytest.mark.parametrize(
    "setting",
    [
        "ExecStartPre=/bin/sleep 5",
        "ExecStartPre=-/usr/bin/nvidia-smi -L",
        "ExecStartPre=-/usr/bin/docker rm -f llama",
        "ExecStartPre=/bin/cp a b\nExecStartPre=",
        "MemoryMax=infinity",
        "CPUQuota=10%\nCPUQuota=",
        "PrivateNetwork=no",
        "NoNewPrivileges=yes",
        "LimitMEMLOCK=infinity",
    ],
)
def test_what_changes_nothing_is_no_difference(bench, setting):
    bench.install(bench.line(), extra=setting)
    assert same(bench.found())


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "VK_ICD_FILENAMES", "MKL_NUM_THREADS", "MALLOC_CONF", "ONEAPI_DEVICE_SELECTOR"])
def test_variables_of_what_an_engine_rests_on(bench, name):
    bench.install(bench.line(), POLICY | {name: "1"})
    assert any(f"sets {name}=1, tested was without it" in each for each in bench.found().differences)
