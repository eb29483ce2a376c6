"""A unit that is installed is the tested one, in whatever spelling - or what differs is named, with file and line."""

from dataclasses import replace

import pytest
from support.installed_units import POLICY, PORT, UNIT, same

from fixtures.catalog.host import Units
from fixtures.deploy.errors import DeployError
from fixtures.deploy.installed import unit_by_files

# -- 15 ways to be another one


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"-ctk": "f16"}, "has -ctk f16, tested was q8_0"),
        ({"-ctv": "f16"}, "has -ctv f16, tested was q4_0"),
        ({"-c": "2048"}, "has -c 2048, tested was 8192"),
        ({"-np": "4"}, "has -np 4, tested was 1"),
        ({"-ub": "256"}, "has -ub 256, tested was 512"),
        ({"-fa": "off"}, "has -fa off, tested was on"),
        ({"-ngl": "20"}, "has -ngl 20, tested was 99"),
        ({"--port": "9999"}, "serves port 9999, the catalog says 18795"),
        ({"--spec-type": "draft-mtp"}, "has --spec-type draft-mtp, tested was draft-mtp,ngram-mod"),
        ({"--spec-draft-n-max": "3"}, "has --spec-draft-n-max 3, tested was 2"),
        ({"--spec-ngram-mod-n-match": "24"}, "has --spec-ngram-mod-n-match 24, tested was 8"),
    ],
)
def test_another_value(bench, changes, said):
    bench.install(bench.line(changes))
    found = bench.found()
    assert len(found.differences) == 1
    assert said in found.differences[0]
    assert f"{UNIT}:4" in found.differences[0]


def test_another_drafter_that_is_a_model(bench):
    """What was tested drafts with DFlash: as written, however its flags are spelled, with MTP, and with another file."""
    words = {"--spec-type": "draft-dflash,ngram-mod", "--spec-draft-n-max": "7"}
    dflash = tuple(words.get(flag, word) for flag, word in zip(("", *bench.argv), bench.argv, strict=False))
    bench.tested, bench.argv = replace(bench.tested, argv=dflash), dflash
    bench.install(bench.line())
    assert same(bench.found())
    bench.install(bench.line({"--spec-type": "ngram-mod,draft-dflash"}, drop=("-md",), more=("--spec-draft-model", str(bench.drafter))))
    assert same(bench.found())
    bench.install(bench.line({"--spec-type": "draft-mtp,ngram-mod"}))
    (difference,) = bench.found().differences
    assert "has --spec-type draft-mtp,ngram-mod, tested was draft-dflash,ngram-mod" in difference
    other = bench.file("models/other.gguf", "other")
    bench.install(bench.line({"-md": str(other)}))
    (difference,) = bench.found().differences
    assert f"has -md {other}" in difference


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ("-c", "does not say -c (default 0), tested was 8192"),
        ("-np", "does not say -np (default -1), tested was 1"),
        ("-md", "does not say -md (default unused)"),
        ("--port", "serves port 8080, the catalog says 18795"),
        ("-ctk", "does not say -ctk (default f16), tested was q8_0"),
        ("--spec-type", "does not say --spec-type (default none)"),
    ],
)
def test_a_missing_flag(bench, drop, said):
    bench.install(bench.line(drop=(drop,)))
    assert any(said in each for each in bench.found().differences)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--mmproj", "/m/p.gguf"), "gives --mmproj, which the tested engine does not take"),
        (("--no-jinja",), "has --no-jinja off, tested was on"),
        (("--swa-full",), "has --swa-full on, tested was without"),
        (("-ctkd", "q4_0"), "has -ctkd q4_0, tested was without (default f16)"),
        (("--no-kv-offload",), "has --no-kv-offload off"),
        (("--cache-ram", "0"), "has --cache-ram 0, tested was without (default 8192)"),
        (("--draft-max", "8"), "gives --draft-max, which the tested engine does not take: it would not start"),
        (("-c=1",), "gives -c, which the tested engine does not take: it would not start"),
        (("-c", "1024"), "has -c 1024, tested was 8192"),
    ],
)
def test_a_further_flag(bench, more, said):
    bench.install(bench.line(more=more))
    assert any(said in each for each in bench.found().differences)


def test_another_program(bench):
    bench.install(bench.line(program="/usr/bin/false"))
    assert "starts /usr/bin/false, another program than the tested" in bench.found().differences[0]


def test_a_program_that_is_not_there(bench):
    bench.install(bench.line(program="/opt/old-build/llama-server"))
    assert "starts /opt/old-build/llama-server, which is not there" in bench.found().differences[0]


def test_a_program_of_the_same_name_and_other_bytes(bench):
    bench.install(bench.line(program=bench.elf("other/llama-server", b"x")))
    assert "another program than the tested" in bench.found().differences[0]


def test_the_same_program_beside_another_library(bench):
    bench.file("engine/libggml.so", "one")
    bench.elf("copy/llama-server")
    bench.file("copy/libggml.so", "two")
    bench.install(bench.line(program=bench.folder / "copy/llama-server"))
    assert "with another libggml.so beside it" in bench.found().differences[0]


@pytest.mark.parametrize("flag", ["-m", "-md"])
def test_another_file(bench, flag):
    other = bench.file("models/other.gguf", "another")
    bench.install(bench.line({flag: str(other)}))
    assert f"has {flag} {other}, tested was" in bench.found().differences[0]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "lacks the variable GGML_CUDA_DISABLE_GRAPHS=1"),
        (POLICY | {"TURBO_PURE": "0"}, "sets TURBO_PURE=0, tested was TURBO_PURE=1"),
        (POLICY | {"LD_LIBRARY_PATH": "/opt/third-build/lib"}, "sets LD_LIBRARY_PATH=/opt/third-build/lib, tested was without it"),
        (POLICY | {"LD_PRELOAD": "/opt/x.so"}, "sets LD_PRELOAD=/opt/x.so"),
        (POLICY | {"CUDA_VISIBLE_DEVICES": ""}, "sets CUDA_VISIBLE_DEVICES="),
        (POLICY | {"TURBO_AUTO_ASYMMETRIC": "1"}, "sets TURBO_AUTO_ASYMMETRIC=1"),
        (POLICY | {"MY_FORK_MODE": "1"}, "sets MY_FORK_MODE=1"),
        (POLICY | {"TURBOQUANT": "1"}, "sets TURBOQUANT=1"),
        (POLICY | {"LLAMA_ARG_SWA_FULL": "1"}, "has LLAMA_ARG_SWA_FULL on, tested was without"),
        (
            POLICY | {"LLAMA_ARG_SPEC_TYPE": "ngram-cache"},
            "has --spec-type ngram-cache,draft-mtp,ngram-mod, tested was draft-mtp,ngram-mod",
        ),
    ],
)
def test_another_environment(bench, env, said):
    bench.install(bench.line(), env)
    assert any(said in each for each in bench.found().differences)


def test_a_dropin_of_the_unit_starts_another_one(bench):
    """Input 01: the main file is wrong, and the drop-in is wrong in another way."""
    old = "/opt/old-build/llama-server -m /models/another-model.gguf -c 2048 -np 4 -ctk f16 -ctv f16"
    bench.install(f"{old} --port {PORT}", {})
    assert any("/opt/old-build/llama-server" in each for each in bench.found().differences)
    third = "/opt/third-build/llama-server -m /models/third-model.gguf -ctk q4_0 -ctv q4_0 --port 9999"
    bench.dropin(f"Environment=LD_LIBRARY_PATH=/opt/third-build/lib\nExecStart=\nExecStart={third}", "81-mtp.conf")
    found = bench.found().differences
    for said in ("/opt/third-build/llama-server, which is not there", "third-model.gguf", "-ctk q4_0", "port 9999", "LD_LIBRARY_PATH"):
        assert any(said in each for each in found), said
    assert all(f"{UNIT}.d/81-mtp.conf:" in each for each in found if "has" in each)


def test_a_second_command_without_a_reset_is_refused(bench):
    bench.install(bench.line())
    bench.dropin(f"ExecStart={bench.line()}")
    assert "2 ExecStart= lines" in bench.found().differences[0]


def test_a_type_wide_dropin_counts(bench):
    bench.install(bench.line())
    bench.dropin("UnsetEnvironment=TURBO_PURE", unit="service")
    assert "lacks the variable TURBO_PURE" in bench.found().differences[0]


def test_a_prefix_dropin_counts(bench):
    bench.install(bench.line())
    bench.dropin("Environment=TURBO_PURE=2", unit="llama-.service")
    assert "81-x.conf:2" in bench.found().differences[0]


def test_variables_of_the_users_manager_count(bench, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(bench.folder / "config"))
    bench.install(bench.line())
    assert same(bench.found())
    bench.file("config/environment.d/50-llama.conf", "LLAMA_ARG_SWA_FULL=on\nEDITOR=vi\n")
    assert "has LLAMA_ARG_SWA_FULL on" in bench.found().differences[0]


def test_masked_is_no_unit(bench):
    (bench.units / UNIT).symlink_to("/dev/null")
    with pytest.raises(DeployError, match="masked"):
        bench.found()


# -- honest spellings of the right one


def test_as_rendered(bench):
    bench.install(bench.line())
    assert same(bench.found())


def test_by_a_dropin(bench):
    bench.install("/bin/false", {})
    variables = "\n".join(f"Environment={name}={value}" for name, value in POLICY.items())
    bench.dropin(f"{variables}\nExecStart=\nExecStart={bench.line()}")
    assert same(bench.found())


def test_by_an_environment_file(bench):
    env = bench.file("llama.env", f"MODEL='{bench.model}'\nPORT={PORT}\nEXTRA=\"-np 1 -ub 512\"\nTURBO_PURE=1\n# c\n")
    line = bench.line({"-m": "MODEL", "--port": "PORT"}, drop=("-np", "-ub")).replace(" MODEL", " ${MODEL}").replace(" PORT", " ${PORT}")
    bench.install(f"{line} $EXTRA", {"GGML_CUDA_DISABLE_GRAPHS": "yes"}, extra=f"EnvironmentFile={env}\nEnvironmentFile=-/no/such/file")
    assert same(bench.found())


def test_by_a_template(bench):
    line = bench.line({"--port": "187%i", "-m": f"{bench.folder}/models/%J.gguf"})
    line = line.replace("187%%i", "187%i").replace("%%J", "%p")
    bench.install(line, name="target@.service")
    unit = unit_by_files("target@95.service", Units(directory=str(bench.units), scope="system"), bench.program)
    assert unit.files.main.name == "target@.service"
    assert same(bench.found("target@95.service"))


def test_by_variables_of_the_engine(bench):
    env = POLICY | {"LLAMA_ARG_PORT": str(PORT), "LLAMA_ARG_CTX_SIZE": "8192", "LLAMA_ARG_N_PARALLEL": "1", "LLAMA_ARG_FLASH_ATTN": "1"}
    bench.install(bench.line(drop=("--port", "-c", "-np", "-fa")), env)
    assert same(bench.found())


def test_a_flag_wins_over_its_variable(bench):
    bench.install(bench.line(), POLICY | {"LLAMA_ARG_PORT": "1", "LLAMA_ARG_CTX_SIZE": "1", "LLAMA_ARG_NO_JINJA": "1"})
    assert same(bench.found())


def test_kinds_of_speculation_add_up(bench):
    bench.install(bench.line({"--spec-type": "none,draft-mtp"}, more=("--spec-type", "ngram-mod")))
    assert same(bench.found())


def test_by_long_flags_and_harmless_differences(bench):
    line = bench.line({"--host": "0.0.0.0", "-ngl": "all", "--spec-type": "ngram-mod,draft-mtp"})  # noqa: S104 - written, not bound to
    line = line.replace(" -c ", " --ctx_size ").replace(" -ctk ", " --cache-type-k ").replace(" -md ", " --spec-draft-model ")
    bench.install(f"{line} --alias gemma --metrics -t 8 -lv 4 --slots", POLICY | {"GGML_CUDA_DISABLE_GRAPHS": "0", "HOME": "/srv"})
    found = bench.found()
    assert same(found)
    assert any("--alias gemma" in note for note in found.notes)


def test_defaults_that_are_not_said(bench):
    bench.install(bench.line(drop=("-ub", "--jinja", "-fit")))
    found = bench.found()
    assert same(found)
    assert any("-fit" in note for note in found.notes)


def test_by_links_and_copies(bench):
    link = bench.folder / "current"
    link.symlink_to(bench.folder / "engine")
    copy = bench.file("copies/renamed.gguf", bench.model.read_text())
    bench.install(bench.line({"-m": str(copy)}, program=link / "llama-server"))
    assert same(bench.found())


@pytest.mark.parametrize(
    "wrapped",
    [
        "/bin/sh -c 'exec {line}'",
        "/bin/bash -ec 'export TURBO_PURE=1; cd /; exec {line} >>/dev/null 2>&1'",
        "/usr/bin/env TURBO_PURE=1 {line}",
        "/usr/bin/nice -n 5 /usr/bin/taskset -c 0-3 {line}",
        "/usr/bin/numactl --interleave=all -N 0 {line}",
        "-/usr/bin/env -u NOTHING nice {line}",
        "/usr/bin/flock -w 5 /run/llama.lock {line}",
        "/usr/bin/systemd-cat -t llama {line}",
    ],
)
def test_through_wrappers(bench, wrapped):
    bench.install(wrapped.format(line=bench.line()))
    assert same(bench.found())


def test_through_a_script(bench):
    env = bench.file("env.sh", "export TURBO_PURE=1\nPORT=${PORT:-18795}\n")
    words = bench.line(drop=("--port",)).partition(" ")[2]
    text = f'#!/bin/bash\nset -euo pipefail\n# serve\nsource {env}\nexec {bench.program} "$@" --port "$PORT"\n'
    bench.install(f"{bench.script('run.sh', text)} {words}", {"GGML_CUDA_DISABLE_GRAPHS": "1"})
    assert same(bench.found())


def test_a_library_path_to_the_tested_libraries(bench):
    bench.file("engine/libggml.so", "one")
    bench.install(bench.line(), POLICY | {"LD_LIBRARY_PATH": str(bench.folder / "engine")})
    assert same(bench.found())
