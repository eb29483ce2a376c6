"""Command lines: every arm, both generations of MTP flags, environment, and what is refused with which message."""

from pathlib import Path

import pytest
from support.launches import DRAFTER, prepared, render_command

from fixtures.catalog.candidate import Policy
from fixtures.catalog.load import load_host, load_lanes
from fixtures.catalog.owed import gated
from fixtures.catalog.requirement import Arm
from fixtures.catalog.speculation import Speculation
from fixtures.engine.command import CommandError, Corpus, perplexity_command, server_command
from fixtures.engine.command_env import engine_environment
from fixtures.engine.command_matrix import command_matrix
from fixtures.engine.dialect import EngineCannot, recorded_dialect, recorded_dialects
from fixtures.engine.lanes import LaneUnavailable, resolve_lane

FAMILIES = ("upstream", "atomicbot-2026-07", "atomicbot-2026-05", "thetom", "buun", "amesianx", "tbq-patch")
BASE_ENV = {"PATH", "HOME", "LANG"}


@pytest.fixture
def lanes():
    return load_lanes()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The DGX as its public file says, plus what its owner's overlay would tell; nobody's real overlay and no GPU choice."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    public = load_host("dgx")
    return with_launch(with_engine(public, pure_mode_env="PURE=1"), context=8192)


def with_launch(host, **update):
    return host.model_copy(update={"launch": host.launch.model_copy(update=update)})


def with_engine(host, **update):
    return host.model_copy(update={"engine": host.engine.model_copy(update=update)})


def command(host, candidate, dialect, arm=Arm.PRODUCTION, *, drafter=DRAFTER, **observed):
    chosen = host.candidate(candidate) if isinstance(candidate, str) else candidate
    known = recorded_dialect(dialect) if isinstance(dialect, str) else dialect
    launch = prepared(host, chosen, known, arm, drafter=drafter)
    return server_command(launch, port=8087, **observed)


def test_the_whole_production_command_of_the_leading_lane(host):
    built = command(host, "31b-k3v3", "atomicbot-2026-07")
    assert render_command(built) == (
        "/e/llama-server -m /m/t.gguf --host 127.0.0.1 --port 8087 -c 8192 -np 1 -ub 512 -fa on -fit off -ctk turbo3 -ctv turbo3 --jinja "
        "--spec-type draft-mtp,ngram-mod -md /m/d.gguf --spec-draft-n-max 3"
    )
    assert built.policy_env == {"GGML_CUDA_DISABLE_GRAPHS": "1", "PURE": "1", "TURBO_AUTO_ASYMMETRIC": "0"}
    assert built.observation == ()


@pytest.mark.parametrize(
    ("family", "flags"),
    [
        ("atomicbot-2026-07", "-ctk turbo3 -ctv turbo4 --jinja --spec-type draft-mtp -md /m/d.gguf --spec-draft-n-max 3"),
        ("atomicbot-2026-05", "-ctk turbo3 -ctv turbo4 --jinja --spec-type mtp --mtp-head /m/d.gguf --draft-block-size 4"),
        ("tbq-patch", "-ctk tbq3_0 -ctv tbq4_0 --jinja --spec-type draft-mtp -md /m/d.gguf --spec-draft-n-max 3"),
    ],
)
def test_a_block_of_four_in_both_generations_of_flags(host, family, flags):
    assert render_command(command(host, "31b-k3v4", family)).endswith(flags)


@pytest.mark.parametrize(
    ("family", "error", "says"),
    [
        ("upstream", LaneUnavailable, r"3\.125 bits.*none of turbo3, tbq3_0, tbq3 is among its KV types.*q4_0 4\.5"),
        ("buun", LaneUnavailable, r"3\.125 bits.*its turbo3 has 3\.5.*turbo3_tcq 3\.25"),
        ("amesianx", LaneUnavailable, r"3\.125 bits.*its tbq3 has 3\.0625"),
        ("thetom", CommandError, r"drafts with MTP, which TheTom fork.*It offers --spec-type ngram-cache\|.*ngram-mod\."),
    ],
)
def test_an_engine_that_cannot_says_what_it_offers_instead(host, family, error, says):
    with pytest.raises(error, match=says):
        command(host, "31b-k3v4", family)
    assert issubclass(error, EngineCannot)


def test_the_variable_that_keeps_k_as_asked_is_set_only_where_k_and_v_are_the_same_fork_type(lanes):
    switched_off = {"TURBO_AUTO_ASYMMETRIC": "0"}
    for family, lane, env in [
        ("thetom", "k3v3", switched_off),
        ("atomicbot-2026-05", "k3v3", switched_off),
        ("atomicbot-2026-07", "k3v3", switched_off),
        ("atomicbot-2026-07", "k3v4", {}),
        ("atomicbot-2026-07", "q8", {}),
        ("tbq-patch", "k3v3", {}),
    ]:
        assert resolve_lane(lane, lanes, recorded_dialect(family)).env == env, (family, lane)


def test_stacking_two_drafters_needs_an_engine_that_takes_a_list(host):
    one_value = recorded_dialect("atomicbot-2026-05")
    with pytest.raises(CommandError, match=r"stacks mtp and ngram-mod, but --spec-type of AtomicBot .* takes one value only"):
        command(host, "26b-k3v4", one_value)
    built = command(host, "26b-k3v4", one_value.model_copy(update={"spec_types_stack": True}))
    assert render_command(built).endswith("--spec-type mtp,ngram-mod --mtp-head /m/d.gguf --draft-block-size 3")


@pytest.mark.parametrize("family", ["upstream", "atomicbot-2026-07", "atomicbot-2026-05", "buun", "tbq-patch"])
def test_the_draft_length_always_comes_after_the_spec_type(host, family):
    """buun's engine sets the draft length back to 2 when it reads --spec-type."""
    candidate = host.candidate("26b-k3v4").model_copy(update={"lane": "q8", "speculation": Speculation(mtp_block=3)})
    argv = command(host, candidate, family).argv
    length = "--draft-block-size" if "--draft-block-size" in argv else "--spec-draft-n-max"
    assert argv.index("--spec-type") < argv.index(length)
    assert argv[argv.index(length) + 1] == ("3" if length == "--draft-block-size" else "2")


def test_ngram_mod_alone_and_its_parameters(host):
    speculation = Speculation(ngram_mod=True, ngram_n_match=8, ngram_n_min=0, ngram_n_max=16)
    candidate = host.candidate("26b-k3v4").model_copy(update={"lane": "q8", "speculation": speculation})
    built = render_command(command(host, candidate, "upstream", drafter=None))
    assert built.endswith("--spec-type ngram-mod --spec-ngram-mod-n-match 8 --spec-ngram-mod-n-min 0 --spec-ngram-mod-n-max 16")
    with pytest.raises(CommandError, match=r"drafts with ngram-mod, which TheTom fork"):
        command(host, candidate, recorded_dialect("thetom").model_copy(update={"spec_types": ()}))


@pytest.mark.parametrize("family", ["thetom", "atomicbot-2026-05"])
def test_engines_of_may_size_ngram_mod_by_the_flags_of_all_drafters(host, family):
    speculation = Speculation(ngram_mod=True, ngram_n_match=8, ngram_n_min=0, ngram_n_max=16)
    candidate = host.candidate("26b-k3v4").model_copy(update={"lane": "q8", "speculation": speculation})
    built = render_command(command(host, candidate, family, drafter=None))
    assert built.endswith("--spec-type ngram-mod --spec-ngram-size-n 8 --draft-min 0 --draft-max 16")


@pytest.mark.parametrize("family", ["upstream", "atomicbot-2026-07", "buun", "tbq-patch"])
def test_an_alias_of_the_draft_length_never_sizes_ngram_mod(host, family):
    """buun still takes --draft-max, and removed flags are listed: neither is ngram-mod's own."""
    candidate = host.candidate("26b-k3v4").model_copy(update={"lane": "q8", "speculation": Speculation(ngram_mod=True, ngram_n_max=16)})
    assert render_command(command(host, candidate, family, drafter=None)).endswith("--spec-type ngram-mod --spec-ngram-mod-n-max 16")


def test_a_size_that_an_engine_has_no_flag_for_is_named_as_today(host):
    may = recorded_dialect("thetom")
    without = may.model_copy(update={"flags": tuple(flag for flag in may.flags if flag != "--spec-ngram-size-n")})
    candidate = host.candidate("26b-k3v4").model_copy(update={"lane": "q8", "speculation": Speculation(ngram_mod=True, ngram_n_match=8)})
    with pytest.raises(CommandError, match=r"TheTom fork 9079 \(69d8e4be4\) has no flag --spec-ngram-mod-n-match"):
        command(host, candidate, without, drafter=None)


def test_an_mtp_head_inside_the_target_needs_no_drafter_file(host):
    model = host.models["gemma4-26b"].model_copy(update={"drafter": None})
    native = host.model_copy(update={"models": {**host.models, "gemma4-26b": model}})
    assert "-md" not in command(native, "26b-k3v4", "tbq-patch", drafter=None).argv
    with pytest.raises(CommandError, match="26b-k3v4 drafts with MTP: model gemma4-26b has a drafter, but no file was given"):
        command(host, "26b-k3v4", "tbq-patch", drafter=None)


def test_arms_differ_from_production_in_what_they_say_and_in_nothing_else(host):
    production, plain, base, soak = (command(host, "26b-k3v4", "tbq-patch", arm) for arm in (Arm.PRODUCTION, Arm.PLAIN, Arm.BASE, Arm.SOAK))
    drafting = "--spec-type draft-mtp,ngram-mod -md /m/d.gguf --spec-draft-n-max 2"
    assert render_command(production) == f"{render_command(plain)} {drafting}"
    assert render_command(base) == render_command(plain).replace("-ctk tbq3_0 -ctv tbq4_0", "-ctk f16 -ctv f16")
    assert render_command(soak) == f"{render_command(production)} --cache-ram 0 --ctx-checkpoints 1"
    assert production.env == plain.env == base.env == soak.env


def test_soak_disables_graphs_where_production_does_not_and_takes_what_the_engine_has(host):
    candidate = host.candidate("26b-k3v4").model_copy(update={"policy": Policy(), "speculation": Speculation()})
    assert command(host, candidate, "thetom").policy_env == {}
    soak = command(host, candidate, "thetom", Arm.SOAK)
    assert soak.policy_env == {"GGML_CUDA_DISABLE_GRAPHS": "1"}
    assert soak.argv[-2:] == ("--cache-ram", "0")
    assert "--ctx-checkpoints" not in soak.argv


def test_an_arm_without_a_server_is_refused(host):
    with pytest.raises(CommandError, match="arm none launches no server; expected one of production, plain, base, soak"):
        command(host, "26b-k3v4", "tbq-patch", Arm.NONE)


def test_observation_is_the_named_difference_to_production(host):
    for family, verbosity in [("tbq-patch", "4"), ("atomicbot-2026-05", "3")]:
        bare = command(host, "31b-k3v4", family)
        observed = command(host, "31b-k3v4", family, observe=True, alias="31b-k3v4-17")
        assert observed.observation == ("--metrics", "--alias", "31b-k3v4-17")
        assert observed.argv == (*bare.argv, "-lv", verbosity, *observed.observation)
        assert observed.env == bare.env


def test_host_values_reach_the_command_line(host):
    busy = with_launch(host, context=131072, ubatch=2048, parallel=4, threads=8, gpu_layers=0)
    built = render_command(command(busy, "31b-k3v4", "tbq-patch", Arm.PLAIN))
    assert "-c 131072 -np 4 -ub 2048" in built
    assert "-t 8 -ngl 0" in built, "a legitimate 0 is not left out"
    assert "-fit" not in command(host, "31b-k3v4", "amesianx", Arm.BASE).argv, "an engine without -fit gets none"


def test_a_completion_model_gets_no_chat_template_flag(host):
    model = host.models["gemma4-26b"].model_copy(update={"api": "completion"})
    raw = host.model_copy(update={"models": {**host.models, "gemma4-26b": model}})
    assert "--jinja" not in command(raw, "26b-k3v4", "tbq-patch").argv


def test_keys_that_only_the_owner_knows_are_named_not_guessed(host):
    with pytest.raises(CommandError, match=r"^missing key `launch\.context`"):
        command(with_launch(host, context=None), "31b-k3v3", "tbq-patch")
    nameless = with_engine(host, pure_mode_env=None)
    with pytest.raises(CommandError, match=r"^missing key `engine\.pure_mode_env`: 31b-k3v3 runs in pure mode"):
        command(nameless, "31b-k3v3", "tbq-patch")
    assert command(nameless, "26b-k3v4", "tbq-patch").policy_env == {"GGML_CUDA_DISABLE_GRAPHS": "1"}


@pytest.mark.parametrize(("setting", "name", "value"), [("PURE", "PURE", "1"), ("PURE=full", "PURE", "full"), ("P=a=b", "P", "a=b")])
def test_the_pure_mode_variable_with_and_without_a_value(host, setting, name, value):
    assert command(with_engine(host, pure_mode_env=setting), "31b-k3v3", "tbq-patch").env[name] == value


def test_the_environment_is_listed_never_inherited(host, monkeypatch):
    for name in ("LLAMA_ARG_CTX_SIZE", "LD_LIBRARY_PATH", "LD_PRELOAD", "GGML_CUDA_DISABLE_GRAPHS", "TURBO_AUTO_ASYMMETRIC"):
        monkeypatch.setenv(name, "7")
    built = command(host, "26b-k3v4", "tbq-patch")
    assert set(built.env) == BASE_ENV | {"GGML_CUDA_DISABLE_GRAPHS"}
    assert built.env["GGML_CUDA_DISABLE_GRAPHS"] == "1"
    assert built.env["LANG"] == "C.UTF-8"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    library_path = with_engine(host, env={"LD_LIBRARY_PATH": "/opt/fork/lib"})
    built = command(library_path, "26b-k3v4", "tbq-patch")
    assert set(built.env) == BASE_ENV | {"GGML_CUDA_DISABLE_GRAPHS", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"}
    assert engine_environment(library_path) == {name: built.env[name] for name in built.env if name != "GGML_CUDA_DISABLE_GRAPHS"}


def test_an_overlay_cannot_smuggle_flags_in(host):
    with pytest.raises(CommandError, match=r"engine\.env of host dgx sets LLAMA_ARG_CTX_SIZE, which would override flags"):
        command(with_engine(host, env={"LLAMA_ARG_CTX_SIZE": "1"}), "26b-k3v4", "tbq-patch")


def test_a_flag_that_is_missing_or_removed_is_refused_with_what_is_there(host):
    dialect = recorded_dialect("tbq-patch")
    without = dialect.model_copy(update={"flags": tuple(flag for flag in dialect.flags if flag not in ("-np", "--parallel"))})
    with pytest.raises(CommandError, match=r"has no flag -np; it offers "):
        command(host, "26b-k3v4", without)
    removed = without.model_copy(update={"removed_flags": ("-np",)})
    with pytest.raises(CommandError, match=r"has removed the flag -np"):
        command(host, "26b-k3v4", removed)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_command_line_holds_a_flag_that_its_engine_does_not_list(host, lanes, family):
    dialect = recorded_dialect(family)
    for lines in (lines for candidate in gated(host) for lines in command_matrix(host, lanes, candidate, [dialect]).values()):
        flags = [word for line in lines for word in line.removeprefix("(observation) ").split() if word.startswith("-")]
        assert lines[0].startswith("unavailable: ") or set(flags) <= set(dialect.flags)


def test_perplexity_uses_the_lane_and_never_drafts(host):
    few_threads = with_launch(host, threads=4, context=None)
    launch = prepared(few_threads, host.candidate("31b-k3v3"), recorded_dialect("atomicbot-2026-07"), Arm.PLAIN)
    built = perplexity_command(launch, Path("/e/llama-perplexity"), Corpus(Path("/c/a b.txt"), chunks=8, context=512))
    assert render_command(built) == (
        "/e/llama-perplexity -m /m/t.gguf -c 512 -b 512 -ub 512 -fa on -fit off -ctk turbo3 -ctv turbo3 -t 4 -lv 4 "
        "-f '/c/a b.txt' --chunks 8"
    )
    assert built.policy_env == command(host, "31b-k3v3", "atomicbot-2026-07").policy_env


def test_the_matrix_covers_every_gated_candidate_arm_and_dialect_without_any_overlay(lanes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    dgx = load_host("dgx")
    matrices = {candidate.id: command_matrix(dgx, lanes, candidate, recorded_dialects()) for candidate in gated(dgx)}
    assert sum(map(len, matrices.values())) == 6 * 4 * len(recorded_dialects())
    assert matrices["31b-k3v3"]["production tbq-patch"] == (
        "GGML_CUDA_DISABLE_GRAPHS=1",
        "PURE_MODE_VARIABLE=1",
        "/ENGINE/llama-server",
        "-m /MODELS/gemma4-31b.gguf",
        "--host 127.0.0.1",
        "--port 8087",
        "-c 8192",
        "-np 1",
        "-ub 512",
        "-fa on",
        "-fit off",
        "-ctk tbq3_0",
        "-ctv tbq3_0",
        "--jinja",
        "--spec-type draft-mtp,ngram-mod",
        "-md /MODELS/gemma4-31b-drafter.gguf",
        "--spec-draft-n-max 3",
        "-lv 4",
        "(observation) --metrics",
        "(observation) --alias ALIAS",
    )
    cells = [(cell, lines) for matrix in matrices.values() for cell, lines in matrix.items()]
    assert all((len(lines) == 1) == lines[0].startswith("unavailable: ") and len(lines) not in range(2, 11) for _, lines in cells)
    able = {cell.split()[1] for cell, lines in cells if cell.startswith("production ") and len(lines) > 1}
    assert able == {"atomicbot-2026-07", "atomicbot-2026-05", "tbq-patch"}
