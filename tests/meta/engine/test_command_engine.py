"""Probe and builder end to end: a small program per dialect that only knows its help text, and the pinned engine itself."""

import json
import subprocess
import sys

import pytest
from support.launches import prepared

from fixtures.catalog.load import load_host
from fixtures.catalog.requirement import Arm
from fixtures.engine.command import LAUNCHED_ARMS, Corpus, perplexity_command, server_command
from fixtures.engine.command_env import engine_environment
from fixtures.engine.dialect import EngineCannot, probe_dialect, recorded_dialect
from fixtures.engine.dialects import recorded_texts
from llama_build import EngineRequest, build_engine

# Refuses every flag that its help text does not list or lists as removed, as llama.cpp does; knows nothing of our parser.
ENGINE = r"""#!{python} -IS
import json, os, re, sys
help_text = open({help!r}, encoding="utf-8").read()
if sys.argv[1:] == ["--help"]:
    sys.exit(print(help_text))
if sys.argv[1:] == ["--version"]:
    sys.exit(print(open({version!r}, encoding="utf-8").read(), file=sys.stderr))
accepted = set()
for block in re.split(r"(?m)^(?=-)", help_text):
    head = block.split("\n")[0]
    head = head if head[37:40].strip() else head[:40]  # texts start in column 40, unless the names reach that far
    if "has been removed" not in block:
        accepted.update(re.findall(r"(?:^|, +)(--?[A-Za-z][\w-]*)", head))
for word in sys.argv[1:]:
    if word.startswith("-") and word not in accepted:
        sys.exit("error: invalid argument: " + word)
json.dump({{"argv": sys.argv, "env": dict(os.environ)}}, open({record!r}, "w"))
"""

# family -> what the candidate's production arm must ask of it; None: the engine cannot, and says so before anything runs
EXPECTED = {
    "upstream": None,
    "atomicbot-2026-07": ("turbo3", "turbo4", "--spec-type draft-mtp -md {drafter} --spec-draft-n-max 3"),
    "atomicbot-2026-05": ("turbo3", "turbo4", "--spec-type mtp --mtp-head {drafter} --draft-block-size 4"),
    "thetom": None,
    "buun": None,
    "amesianx": None,
    "tbq-patch": ("tbq3_0", "tbq4_0", "--spec-type draft-mtp -md {drafter} --spec-draft-n-max 3"),
}


@pytest.fixture(autouse=True)
def _no_overlay_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def host():
    public = load_host("dgx")
    return public.model_copy(update={"launch": public.launch.model_copy(update={"context": 8192})})


def program(folder, family):
    path = folder / "llama-server"
    texts = {part: str(file) for part, file in recorded_texts(family)._asdict().items()}
    path.write_text(ENGINE.format(python=sys.executable, record=str(folder / "record.json"), **texts), encoding="utf-8")
    path.chmod(0o755)
    return path


def built(server, candidate, host, dialect, arm, target, drafter):
    launch = prepared(host, candidate, dialect, arm, server=server, target=target, drafter=drafter)
    return server_command(launch, port=8087, alias="probe-1", observe=True)


def run(command, *more):
    return subprocess.run([*command.argv, *more], env=command.env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("family", EXPECTED)
def test_probe_and_builder_end_to_end_on_a_program_of_each_dialect(family, host, tmp_path):
    server = program(tmp_path, family)
    dialect = probe_dialect(server, engine_environment(host))
    assert dialect.family == family
    candidate = host.candidate("31b-k3v4")
    expected = EXPECTED[family]
    if expected is None:
        with pytest.raises(EngineCannot, match=r"It offers"):
            built(server, candidate, host, dialect, Arm.PRODUCTION, tmp_path / "t.gguf", tmp_path / "d.gguf")
    else:
        command = built(server, candidate, host, dialect, Arm.PRODUCTION, tmp_path / "t.gguf", tmp_path / "d.gguf")
        k_type, v_type, drafting = expected
        assert f"-ctk {k_type} -ctv {v_type}" in " ".join(command.argv)
        assert drafting.format(drafter=tmp_path / "d.gguf") in " ".join(command.argv)
        assert_received(command, tmp_path)
    # every engine can serve the F16 arm
    assert_received(built(server, candidate, host, dialect, Arm.BASE, tmp_path / "t.gguf", tmp_path / "d.gguf"), tmp_path)


def assert_received(command, folder):
    done = run(command)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "record.json").read_text())
    assert tuple(record["argv"]) == command.argv
    assert {name: value for name, value in record["env"].items() if name != "LC_CTYPE"} == command.env  # Python sets LC_CTYPE itself


@pytest.mark.parametrize("family", EXPECTED)
def test_that_program_refuses_what_its_dialect_does_not_have(family, host, tmp_path):
    """The proof above would be empty if the program took anything."""
    server = program(tmp_path, family)
    dialect = probe_dialect(server, engine_environment(host))
    command = built(server, host.candidate("31b-k3v4"), host, dialect, Arm.BASE, tmp_path / "t.gguf", None)
    for flag in ("--no-such-flag", *dialect.removed_flags):
        done = run(command, flag, "1")
        assert (done.returncode, done.stderr.strip()) == (1, f"error: invalid argument: {flag}")


@pytest.fixture
def pinned():
    return build_engine(EngineRequest.named("pinned+tbq"))


@pytest.mark.runtime
def test_the_local_engine_is_patched_upstream_and_its_help_text_is_what_our_data_says(pinned):
    real = probe_dialect(pinned.server)
    assert (real.family, real.mtp_style, real.spec_types_stack, real.kv_log_verbosity) == ("tbq-patch", "spec-draft-n-max", True, 4)
    assert {"draft-mtp", "ngram-mod"} <= set(real.spec_types)
    assert set(real.kv_types) == set(real.kv_bpw)
    ours = recorded_dialect("tbq-patch")
    assert set(ours.flags) <= set(real.flags)
    assert set(ours.removed_flags) <= set(real.removed_flags)
    assert (ours.kv_types, ours.family) == (real.kv_types, real.family)


@pytest.mark.runtime
@pytest.mark.parametrize("arm", LAUNCHED_ARMS)
def test_the_pinned_engine_accepts_every_flag_of_every_local_candidate(pinned, arm, tmp_path):
    """`--version` at the end is only reached once every flag and value before it was accepted."""
    local = load_host("local")
    dialect = probe_dialect(pinned.server, engine_environment(local))
    for candidate in local.candidates:
        command = built(pinned.server, candidate, local, dialect, arm, tmp_path / "t.gguf", tmp_path / "d.gguf")
        done = run(command, "--version")
        assert done.returncode == 0, (candidate.id, done.stderr)
        assert "version:" in done.stdout + done.stderr


@pytest.mark.runtime
def test_the_pinned_engine_refuses_a_planted_fault(pinned, tmp_path):
    local = load_host("local")
    dialect = probe_dialect(pinned.server, engine_environment(local))
    command = built(pinned.server, local.candidates[0], local, dialect, Arm.PLAIN, tmp_path / "t.gguf", None)
    for fault in (("--draft-max", "3"), ("-ctk", "turbo3"), ("--no-such-flag",), ("--spec-type", "mtp")):
        assert run(command, *fault, "--version").returncode != 0, fault


@pytest.mark.runtime
def test_the_pinned_llama_perplexity_accepts_its_command(pinned, tmp_path):
    assert pinned.perplexity is not None
    local = load_host("local")
    (tmp_path / "corpus.txt").write_text("some words\n", encoding="utf-8")
    dialect = probe_dialect(pinned.server, engine_environment(local))
    launch = prepared(local, local.candidates[0], dialect, Arm.PLAIN, server=pinned.server, target=tmp_path / "t.gguf")
    command = perplexity_command(launch, pinned.perplexity, Corpus(tmp_path / "corpus.txt", chunks=8, context=512))
    assert run(command, "--version").returncode == 0
    assert run(command, "--no-such-flag", "--version").returncode != 0
