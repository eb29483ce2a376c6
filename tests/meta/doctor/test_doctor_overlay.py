"""The doctor's overlay: it loads once switched on, marks its examples, and lets no stranger's text out of its comments."""

import re
import subprocess
import sys
import tomllib

import pytest
from support.places import ROOT

from fixtures.catalog.load import load_host
from fixtures.doctor.examine import EngineFound, Findings
from fixtures.doctor.files import GgufFound
from fixtures.doctor.overlay import render_overlay
from fixtures.doctor.services import ServerFound, ServerSettings, ServiceFound, UnitFound
from fixtures.doctor.suggest import best_engine, files_for, pure_mode_setting, serving_number, telling_pattern, wanted_keys

GIB = 1 << 30
MIB = 1 << 20
NOTHING = Findings(user="wayne")


@pytest.fixture(autouse=True)
def _no_overlay_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def dgx():
    return load_host("dgx")


def switched_on(text):
    """What a user gets who removes the "#" of every setting."""
    return re.sub(r"(?m)^#(?=[\[\w])", "", text)


def load(text, tmp_path):
    overlay = tmp_path / "overlay.toml"
    overlay.write_text(switched_on(text), encoding="utf-8")
    return load_host("dgx", overlay=overlay)


def unit(name, *, model="", drafter="", context=8192, **variables):
    return UnitFound(
        path=f"/etc/systemd/system/{name}",
        scope="system",
        user="llama",
        command="/opt/fork/llama-server ...",
        settings=ServerSettings(model=model or None, drafter=drafter or None, context=context, gpu_layers=99),
        variables=variables,
    )


def found(path, size, architecture="gemma4", file_type="Q4_K_M", problem=""):
    return GgufFound(path=path, resolved=path, size_bytes=int(size), architecture=architecture, file_type=file_type, problem=problem)


RC_31B = "llama-gemma4-31b-fullt3-mtp-rc.service"
RC_26B = "llama-gemma4-26b-k3v4-mtp-rc.service"
RC_E4B = "llama-gemma4-e4b-fullt3-mtp-rc.service"
UPSTREAM = EngineFound(path="/opt/upstream/llama-server", label="upstream llama.cpp 1", commit="0c1e570", kv_types=("f16", "q8_0"))
FORK = EngineFound(path="/opt/fork/llama-server", label="fork", commit="abcdef0", kv_types=("f16", "turbo3"), library_path="/opt/fork")
BROKEN = EngineFound(path="/opt/broken/llama-server", problem="no CUDA driver")
EVERYTHING = Findings(
    user="wayne",
    ggufs=(
        found("/m/31b.gguf", 18.6 * GIB),
        found("/m/31b-assistant.gguf", 337.6 * MIB, "gemma4-assistant", "Q8_0"),
        found("/m/e4b.gguf", 5.06 * GIB),
        found("/m/e4b-too.gguf", 5.1 * GIB),
    ),
    engines=(BROKEN, UPSTREAM, FORK),
    servers=(
        ServerFound(pid=7, user="root", program="", command="", unit="llama-gemma4-26b.service", rss_mib=16384, settings=ServerSettings()),
    ),
    units=(
        unit(RC_31B, model="/u/31b.gguf", GGML_CUDA_DISABLE_GRAPHS="1", TBQ_PURE="1"),
        unit(RC_26B, model="/u/26b.gguf", drafter="/u/26b-a.gguf", GGML_CUDA_DISABLE_GRAPHS="1"),
        unit(RC_E4B, GGML_CUDA_DISABLE_GRAPHS="1", TBQ_PURE="1"),
    ),
    asr_like=(ServiceFound(pid=8, command="python3 /srv/asr_service.py --port 1", unit=None, cpu_pct=344.0),),
    locks=("/run/lock/gemma4.lock",),
    gpus=("NVIDIA GB10",),
    unreadable=("/mnt/storage/private",),
    not_searched=("/mnt/slow",),
)


@pytest.mark.parametrize("findings", [NOTHING, EVERYTHING], ids=["nothing found", "everything found"])
def test_the_overlay_sets_nothing_as_printed_and_everything_once_switched_on(findings, dgx, tmp_path):
    text = render_overlay(findings, dgx)
    assert tomllib.loads(text) == {}
    laid = load(text, tmp_path)
    assert [key for key in wanted_keys(laid) if ".limits.ppl." not in key] == []
    assert len(wanted_keys(dgx)) > 20
    for key in wanted_keys(dgx):
        assert key.split(".")[-1] in text, key


def test_what_was_found_is_what_is_suggested(dgx, tmp_path):
    text = render_overlay(EVERYTHING, dgx)
    laid = load(text, tmp_path)
    assert (laid.engine.recipe, laid.engine.path, laid.engine.commit) == ("path", "/opt/fork", "abcdef0")
    assert laid.engine.env == {"LD_LIBRARY_PATH": "/opt/fork"}
    assert laid.engine.pure_mode_env == "TBQ_PURE=1"
    assert (laid.launch.context, laid.launch.gpu_layers) == (8192, 99)
    assert laid.guard.lock == "/run/lock/gemma4.lock"
    assert [(entry.name, entry.cmdline, entry.max_cpu_pct) for entry in laid.guard.competing] == [("asr", r"asr_service\.py", 50.0)]
    assert (laid.units.directory, laid.units.scope, laid.units.user) == ("/etc/systemd/system", "system", "llama")
    paths = {model: (entry.target.path, entry.drafter.path) for model, entry in laid.models.items()}
    assert paths["gemma4-31b"] == ("/u/31b.gguf", "/m/31b-assistant.gguf"), "what the unit loads comes first"
    assert paths["gemma4-26b"] == ("/u/26b.gguf", "/u/26b-a.gguf")
    assert paths["gemma4-e4b"] == ("/m/e4b.gguf", "/path/to/gemma4-e4b-drafter.gguf")
    assert "#   /m/e4b-too.gguf" in text
    assert len(re.findall("EXAMPLE, nothing", text)) == 1, "the drafter that nothing was found for"
    assert all("EXAMPLE" in line for line in text.splitlines() if "/path/to/" in line), "whoever uncomments what is right leaves these"
    for told in ("/mnt/storage/private", "/mnt/slow", "no CUDA driver", "hidden from this user", "344 % of one core", "NVIDIA GB10"):
        assert told in text


def test_without_findings_every_value_about_this_machine_is_marked_as_an_example(dgx):
    text = render_overlay(NOTHING, dgx)
    decided_by_owner = {"name", "max_cpu_pct", "lock", "texts", "corpus", "chunks", "context", "prompt_set", "backup", "copy"}
    for line in re.findall(r"(?m)^#(\w+) = .*$", text):
        assert line in decided_by_owner or re.search(rf"(?m)^#{line} = .*EXAMPLE", text), line


def test_a_host_that_lacks_nothing_is_told_so():
    local = load_host("local")
    assert wanted_keys(local) == ()
    text = render_overlay(EVERYTHING, local)
    assert "it needs no further overlay" in text
    assert switched_on(text) == text


@pytest.mark.parametrize("evil", ['x\n[engine]\npath = "/evil"', "x\r#[engine]", "x\x85#path = 1", "\udcff\u202e", "\x00\x7f\x1b[31m"])
def test_no_name_of_a_stranger_leaves_the_comment(evil, dgx, tmp_path):
    findings = EVERYTHING.model_copy(
        update={
            "ggufs": (found(f"/m/{evil}.gguf", 18.6 * GIB), found("/m/a.gguf", 1, problem=evil)),
            "engines": (EngineFound(path=f"/{evil}/llama-server", label="x"), EngineFound(path="/e/llama-server", problem=evil)),
            "asr_like": (ServiceFound(pid=1, command=f"/srv/whisper{evil}", unit=None, cpu_pct=1),),
            "locks": (f"/run/lock/{evil}.lock", "/run/lock/good.lock"),
            "unreadable": (evil,),
            "gpu_problem": evil,
            "gpus": (),
            "user": evil,
        }
    )
    text = render_overlay(findings, dgx)
    text.encode("utf-8")
    assert tomllib.loads(text) == {}
    laid = load(text, tmp_path)
    assert laid.engine.path == "/path/to/folder/with/llama-server"
    assert laid.guard.lock == "/run/lock/good.lock"
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []


def test_the_engine_that_runs_comes_first_then_one_with_types_of_its_own(tmp_path):
    assert best_engine(NOTHING) is None
    assert best_engine(NOTHING.model_copy(update={"engines": (BROKEN,)})) is None
    assert best_engine(NOTHING.model_copy(update={"engines": (UPSTREAM, FORK)})) == FORK
    running = ServerFound(pid=1, user="u", program=UPSTREAM.path, command="", unit=None, rss_mib=1, settings=ServerSettings())
    assert best_engine(NOTHING.model_copy(update={"engines": (UPSTREAM, FORK), "servers": (running,)})) == UPSTREAM


def test_the_pure_mode_variable_is_what_sets_its_units_apart_or_nothing(dgx):
    def setting(*units):
        found = pure_mode_setting(dgx, NOTHING.model_copy(update={"units": units}))
        return found and (found.setting, [path.rpartition("/")[2] for path in found.seen_in])

    assert setting(unit(RC_31B, G="1", V="on"), unit(RC_26B, G="1")) == ("V=on", [RC_31B])
    assert setting(unit(RC_31B, V="on")) is None, "nothing to compare with"
    assert setting(unit(RC_31B, V="on", X="1"), unit(RC_26B)) is None, "two variables could be it"
    assert setting(unit(RC_31B, V="on"), unit(RC_E4B), unit(RC_26B)) is None, "the pure-mode units disagree"
    assert setting(unit("llama-other.service", TBQ_PURE="1"), unit(RC_26B)) == ("TBQ_PURE=1", ["llama-other.service"]), "by its name"
    assert setting(unit(RC_31B, TBQ_PURE="1"), unit(RC_E4B, TBQ_PURE="0")) is None, "two values"


def test_a_pure_mode_variable_is_suggested_with_where_it_was_seen(dgx):
    text = render_overlay(NOTHING.model_copy(update={"units": (unit("old.service", TBQ_PURE="1"),)}), dgx)
    assert '#pure_mode_env = "TBQ_PURE=1"  # seen in /etc/systemd/system/old.service' in text


def test_an_engine_that_tells_no_commit_gets_an_example_and_not_a_word_that_loads(dgx):
    silent = EngineFound(path="/opt/own/llama-server", label="own")
    text = render_overlay(NOTHING.model_copy(update={"engines": (silent,)}), dgx)
    assert "unknown" not in text
    assert '#commit = "0000000"  # EXAMPLE, this engine does not tell its commit' in text


def test_a_file_of_the_right_name_and_another_size_is_told(dgx):
    findings = NOTHING.model_copy(
        update={
            "ggufs": (
                found("/m/gemma4-31b-it-Q6.gguf", 24 * GIB),
                found("/m/Gemma4-31B-Q5.gguf", 18.6 * GIB, file_type="Q5_K_M"),
                found("/m/gemma4-31b-mtp.gguf", 2 * GIB, "gemma4-assistant"),
            )
        }
    )
    text = render_overlay(findings, dgx)
    target = text.partition("[models.gemma4-31b.target]")[2].partition("[models.gemma4-31b.drafter]")[0]
    assert "/m/gemma4-31b-it-Q6.gguf has 24 GiB, the catalog says" in target
    assert "/m/Gemma4-31B-Q5.gguf is of type Q5_K_M, the catalog says" in target
    assert "mtp" not in target
    assert "/m/gemma4-31b-mtp.gguf has 2 GiB" in text.partition("[models.gemma4-31b.drafter]")[2]


@pytest.mark.parametrize("architecture", ["dflash", "dflash-draft", "gemma4-assistant"])
def test_a_drafter_is_never_suggested_as_a_target(dgx, architecture):
    """Of the stated size of either: only the architecture tells what a file is."""
    stated = {"target": 19 * GIB, "drafter": 338 * MIB}
    files = tuple(found(f"/m/{part}-sized.gguf", size, architecture) for part, size in stated.items())
    findings = NOTHING.model_copy(update={"ggufs": files})
    assert files_for(dgx, findings, "gemma4-31b", "target") == []
    assert files_for(dgx, findings, "gemma4-31b", "drafter") == ["/m/drafter-sized.gguf"]


def test_numbers_are_only_suggested_where_the_hosts_own_units_agree(dgx):
    agree = NOTHING.model_copy(update={"units": (unit(RC_31B), unit(RC_26B), unit("llama-other.service", context=1))})
    assert serving_number(dgx, agree, "context") == 8192
    differ = NOTHING.model_copy(update={"units": (unit(RC_31B), unit(RC_26B, context=4096))})
    assert serving_number(dgx, differ, "context") is None
    assert serving_number(dgx, NOTHING, "context") is None


def test_files_are_matched_by_stated_size_type_and_kind(dgx):
    findings = NOTHING.model_copy(
        update={
            "ggufs": (
                found("/other-type.gguf", 18.6 * GIB, file_type="Q5_K_M"),
                found("/too-big.gguf", 21 * GIB),
                found("/not-read.gguf", 18.9 * GIB, "", "", problem="not read: out of time"),
                found("/right.gguf", 18.6 * GIB),
                found("/small-target.gguf", 338 * MIB, "gemma3"),
                found("/assistant.gguf", 338 * MIB, "gemma4_assistant", "F16"),
            )
        }
    )
    assert files_for(dgx, findings, "gemma4-31b", "target") == ["/not-read.gguf", "/right.gguf"]
    assert files_for(dgx, findings, "gemma4-31b", "drafter") == ["/assistant.gguf"]


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("/usr/bin/python3 /srv/whisper-api/serve.py", r"whisper\-api/serve\.py"),
        ("/opt/riva/bin/riva_server --x", "riva_server"),
        ("whisper-server", r"whisper\-server"),
    ],
)
def test_the_pattern_names_the_service_not_its_folder(command, pattern):
    service = ServiceFound(pid=1, command=command, unit=None, cpu_pct=0)
    assert telling_pattern(service) == pattern
    assert re.search(pattern, command)


@pytest.mark.runtime
def test_pytest_doctor_prints_only_the_overlay_and_runs_nothing(tmp_path):
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--doctor"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# What the overlay of host dgx ")
    assert tomllib.loads(done.stdout) == {}
    assert "doctor: nothing was changed" in done.stderr
    assert list(tmp_path.rglob("*")) == []
