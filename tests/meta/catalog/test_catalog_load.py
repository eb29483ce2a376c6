"""Loading hosts: overlays, what applies to whom, what is missing, and where a key stands."""

import tomllib
from pathlib import Path

import pytest

from fixtures.catalog.load import (
    CATALOG,
    CatalogError,
    host_names,
    load_host,
    load_lanes,
    load_requirements,
    overlay_file,
)
from fixtures.catalog.missing import all_missing_keys, missing_keys
from fixtures.catalog.model import FileArtefact
from fixtures.catalog.owed import deployable
from fixtures.catalog.places import line_of

pytestmark = pytest.mark.usefixtures("config")

KV_8K = "kv_8k_mib"
OVERLAY = """
[engine]
recipe = "path"
path = "~/llama/bin"
commit = "0123abc"
env = { LD_LIBRARY_PATH = "/opt/llama/lib" }
pure_mode_env = "PURE=1"

[launch]
context = 32768

[guard]
lock = "/run/lock/gpu.lock"
window_s = 10

[[guard.competing]]
name = "ASR"
cmdline = "asr_server\\\\.py"
max_cpu_pct = 20

[models.gemma4-26b]
target.path = "/models/26b.gguf"
drafter.path = "/models/26b-assistant.gguf"

[ppl]
corpus = "/data/wiki.test.raw"
chunks = 64
context = 512

[speed]
prompt_set = "shipped-mix"

[coherence]
texts = "shipped"

[units]
directory = "~/.config/systemd/user"
scope = "user"

[fallback]
backup = "/backups/gemma4-legacy-state-20260514T014100Z"
copy = "~/gemma4-legacy-state"

[candidates.26b-k3v3.limits.ppl]
engine = "0123abc"
backend = "cuda"
corpus_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
chunks = 64
context = 512
"""


def laid(config, text, host="dgx"):
    (config / f"{host}.toml").write_text(text, encoding="utf-8")
    return load_host(host)


def gaps(host):
    asked = [(candidate, item) for candidate in host.candidates for item in load_requirements() if item.id not in candidate.exempt]
    return {key for candidate, requirement in asked for key in missing_keys(host, candidate, requirement)}


def missing_of(host, candidate, family=""):
    asked = [requirement for requirement in load_requirements() if requirement.marker == (family or requirement.marker)]
    return tuple(dict.fromkeys(key for requirement in asked for key in missing_keys(host, host.candidate(candidate), requirement)))


def test_all_shipped_hosts_load():
    assert host_names() == ("dgx", "dgx-rehearsal", "local", "twins")
    assert [load_host(name).standin for name in host_names()] == [False, True, True, True]


@pytest.mark.parametrize("name", ["local", "twins"])
def test_the_embedded_hosts_lack_nothing(name):
    assert gaps(load_host(name)) == set()


def test_the_embedded_hosts_have_the_lanes_and_sizes_that_the_dgx_gates():
    """By geometry, lane and MTP block; the seed gives sizes to two digits."""

    def sizes(*names):
        return {
            (host.models[candidate.model].geometry, candidate.lane, candidate.speculation.mtp_block): candidate.limit(KV_8K).reference
            for host in map(load_host, names)
            for candidate in deployable(host)
        }

    ours, theirs = sizes("local", "twins"), sizes("dgx")
    assert len(theirs) == 6
    assert {key: size for key, size in ours.items() if key in theirs} == pytest.approx(theirs, abs=0.01)


def test_a_host_loads_by_path_too(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text((CATALOG / "hosts/dgx.toml").read_text(encoding="utf-8").replace('id = "dgx"', 'id = "mine"', 1), encoding="utf-8")
    assert load_host(str(own)).id == "mine"


def test_the_overlay_is_found_laid_over_and_fills_the_gaps_of_its_candidate(config):
    bare, host = load_host("dgx"), laid(config, OVERLAY)
    assert host.launch.context == 32768
    assert host.launch.ubatch == bare.launch.ubatch, "tables merge key by key"
    assert host.engine.preset == "cuda-gb10"
    assert host.engine.path == str(Path("~/llama/bin").expanduser())
    target = host.models["gemma4-26b"].target
    assert isinstance(target, FileArtefact)
    assert (target.path, target.size) == ("/models/26b.gguf", "16G")
    limit, reference = host.candidate("26b-k3v3").limit("ppl"), bare.candidate("26b-k3v3").limit("ppl")
    assert limit and reference
    assert (limit.reference, limit.chunks) == (reference.reference, 64)
    candidate = host.candidate("26b-k3v3")
    assert {key for requirement in load_requirements() for key in missing_keys(host, candidate, requirement)} == set()
    assert [c.id for c in host.candidates] == [c.id for c in bare.candidates], "order is kept"


def test_without_its_key_a_gate_names_the_key(config):
    for line, key in (
        ('lock = "/run/lock/gpu.lock"', "guard.lock"),
        ("context = 32768", "launch.context"),
        ('pure_mode_env = "PURE=1"', "engine.pure_mode_env"),
        ('target.path = "/models/26b.gguf"', "models.gemma4-26b.target.path"),
        ('prompt_set = "shipped-mix"', "speed.prompt_set"),
        ('texts = "shipped"', "coherence.texts"),
        ('scope = "user"', "units.scope"),
        ('engine = "0123abc"', "candidates.26b-k3v3.limits.ppl.engine"),
        ('backend = "cuda"', "candidates.26b-k3v3.limits.ppl.backend"),
        ('backup = "/backups/gemma4-legacy-state-20260514T014100Z"', "fallback.backup"),
        ('copy = "~/gemma4-legacy-state"', "fallback.copy"),
        ('corpus = "/data/wiki.test.raw"', "ppl.corpus"),
    ):
        host = laid(config, OVERLAY.replace(line, ""))
        assert set(missing_of(host, "26b-k3v3")) == {key}, line


def test_the_ppl_context_must_be_said_even_where_it_is_the_default(config):
    text = OVERLAY.replace("chunks = 64\ncontext = 512\n\n[speed]", "chunks = 64\n\n[speed]")
    host = laid(config, text)
    assert host.ppl.context == 512
    assert missing_of(host, "26b-k3v3", "ppl") == ("ppl.context",)


def test_keys_are_asked_for_only_where_they_matter(config):
    host = load_host("dgx")
    assert "engine.pure_mode_env" not in missing_of(host, "26b-k3v4", "tps")
    assert "engine.pure_mode_env" in missing_of(host, "26b-k3v3", "tps")
    assert "models.gemma4-26b.drafter.path" not in missing_of(host, "26b-k3v4", "ppl")
    assert "models.gemma4-26b.drafter.path" in missing_of(host, "26b-k3v4", "audit")
    assert missing_of(host, "31b-k3v4", "signoff") == ()
    assert all_missing_keys(host, load_requirements())[:2] == ("guard.lock", "guard.competing")
    system = laid(config, OVERLAY.replace('scope = "user"', 'scope = "system"'))
    assert missing_of(system, "26b-k3v4", "deploy") == ("units.user",)
    pinned = laid(config, '[engine]\nrecipe = "pinned"\n')
    assert not any(key.startswith("engine") for key in missing_of(pinned, "26b-k3v4", "kv"))


def test_an_overlay_may_be_named_and_must_then_exist(tmp_path):
    file = tmp_path / "elsewhere.toml"
    file.write_text("[launch]\ncontext = 4096\n", encoding="utf-8")
    assert load_host("dgx", overlay=file).launch.context == 4096
    with pytest.raises(CatalogError, match=r"gone\.toml: does not exist"):
        load_host("dgx", overlay=tmp_path / "gone.toml")


def test_an_overlay_of_comments_sets_nothing(config):
    assert laid(config, "# lock = ...\n") == load_host("dgx", overlay=config / "dgx.toml")


def test_windows_line_ends_and_tabs_are_fine(config):
    host = laid(config, OVERLAY.replace("\n", "\r\n").replace(" = ", "\t=\t"))
    assert host.guard.window_s == 10


def test_an_overlay_follows_a_link(config, tmp_path):
    (tmp_path / "real.toml").write_text("[launch]\ncontext = 1024\n", encoding="utf-8")
    (config / "dgx.toml").symlink_to(tmp_path / "real.toml")
    assert load_host("dgx").launch.context == 1024


def test_where_the_overlay_lies(monkeypatch):
    assert overlay_file("dgx", {"XDG_CONFIG_HOME": "/x"}) == Path("/x/llama-readiness/dgx.toml")
    monkeypatch.setenv("HOME", "/home/someone")
    for unusable in ({}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "relative"}):
        assert overlay_file("dgx", unusable) == Path("/home/someone/.config/llama-readiness/dgx.toml")


def test_lanes_mean_what_the_vocabulary_says():
    lanes = load_lanes()
    assert {name: (lanes.roles[lane.k].bpw, lanes.roles[lane.v].bpw) for name, lane in lanes.lanes.items()} == {
        "f16": (16.0, 16.0),
        "q8": (8.5, 8.5),
        "q4": (4.5, 4.5),
        "q8q4": (8.5, 4.5),
        "k3v3": (3.125, 3.125),
        "k3v4": (3.125, 4.25),
    }
    assert lanes.roles["t3"].types[0] == "turbo3"


def test_a_line_is_found_behind_lists_texts_comments_and_quotes():
    text = '''# [ports]
title = """
[ports]
test = 1
"""
list = [
  ["ports"],
]
[ports] # here
test = 2
[[rows]]
id = "a"
[[rows]]
id = "b"
[rows.more."x.y"]
deep.er = 3
inline = { key = 4 }
'''
    data = tomllib.loads(text)
    assert line_of(text, data, ("ports", "test")) == 10
    assert line_of(text, data, ("rows", 1, "id")) == 14
    assert line_of(text, data, ("rows", 1, "more", "x.y", "deep", "er")) == 16
    assert line_of(text, data, ("rows", 1, "more", "x.y", "inline", "key")) == 17
    assert line_of(text, data, ("rows", 0, "missing")) == 11
    assert line_of(text, data, ("nowhere",)) is None


def test_losslessness_comes_first_in_the_plain_arm():
    """It launches production before the plain arm; a gate before it would have launched the plain arm, which no run does twice."""
    plain = sorted((requirement.order, requirement.id) for requirement in load_requirements() if requirement.arm == "plain")
    assert plain[0][1] == "LOSS-1"
