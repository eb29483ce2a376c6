"""Twins say their scripts by construction, and their drafters are right as often as asked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import gguf
import jinja2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.places import ROOT

from fixtures.models.artefacts import ArtefactError, check_gguf, drafter_matches
from fixtures.models.twins import TWINS, TwinPaths, ensure_twin, store
from fixtures.models.twins.heads import plan_misses
from fixtures.models.twins.scripts import Chains, Script, build_chains, shipped_scripts

PROMPTS = ROOT / "prompts" / "coherence"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "twins"))


def tensor(path: Path, name: str) -> NDArray[np.float32]:
    found = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    return np.asarray(gguf.quants.dequantize(found.data, found.tensor_type), np.float32)


def normed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """RMS norm with unit weights, as before an output matrix."""
    return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True))


def misses_of(chains: Chains, logits: NDArray[np.float32]) -> set[int]:
    return {token for token, successor in chains.successors if logits[token].argmax() != successor}


def script(answer: str, trigger: str = "", **more: str) -> Script:
    return Script.model_validate({"id": "any" if trigger else "default", "trigger": trigger, "answer": answer, **more})


# -- scripts and chains


def test_pieces_are_unique_and_join_to_the_answers() -> None:
    scripts = shipped_scripts()
    chains = build_chains(scripts)
    pieces = [chain[1:-1] for chain in chains.chains]
    tokens = [token for chain in pieces for token in chain]
    assert len(tokens) == len(set(tokens))
    said = [b"".join(chains.vocabulary.text(token) for token in chain).decode() for chain in pieces]
    assert [text.replace("\u2581", " ") for text in said] == [each.answer for each in scripts]


def test_shipped_answers() -> None:
    answers = {each.id: each.answer for each in shipped_scripts()}
    assert answers["zh_marker"] == "【驗收標記】繁體中文輸出正常。"
    assert all(part in answers["embedded_facts"] for part in ("Gemma4", "llama.cpp", "MTP/ngram", "TBQ3"))
    assert len(set(answers["repeat_line"].split("\n"))) == 6
    chains = dict(zip(answers, build_chains(shipped_scripts()).chains, strict=True))
    assert len(chains["speed"]) - 2 >= 160


def test_the_marker_is_cut_inside_characters() -> None:
    chains = build_chains(shipped_scripts())
    marker = [chains.vocabulary.text(token) for token in chains.chains[1][1:-1]]

    def is_text(piece: bytes) -> bool:
        try:
            return bool(piece.decode())
        except UnicodeDecodeError:
            return False

    assert not any(is_text(piece) for piece in marker)


@pytest.mark.parametrize("prompt", ["zh_marker", "embedded_facts", "repeat_line"])
def test_answers_agree_with_the_coherence_prompts(prompt: str) -> None:
    content = tomllib.loads((PROMPTS / f"{prompt}.toml").read_text(encoding="utf-8"))
    answer = next(each.answer for each in shipped_scripts() if each.id == prompt)
    for check in content["checks"]:
        if check["kind"] == "exact":
            assert answer == check["text"]
        elif check["kind"] == "lines_exact":
            assert answer.split("\n") == check["lines"]
        elif check["kind"] == "contains_all":
            assert all(any(text in answer for text in group) for group in check["groups"])
        elif check["kind"] == "contains_none":
            assert not any(text in answer for text in check["texts"])
    assert started(content["chat"]["messages"]) == f"<|go-{prompt}|>"


def started(messages: list[dict[str, str]]) -> str:
    """The start token that the template chooses."""
    template = jinja2.Environment(autoescape=False).from_string(build_chains(shipped_scripts()).template)  # noqa: S701 - no HTML
    return template.render(messages=messages, add_generation_prompt=True).rsplit("\n", 1)[-1]


def test_template_listens_to_the_last_user_message() -> None:
    user = [{"role": "user", "content": text} for text in ("readiness speed 7", "請逐行照抄")]
    answer = {"role": "assistant", "content": "驗收標記"}
    assert started(user[:1]) == "<|go-speed|>"
    assert started(user) == "<|go-repeat_line|>"
    assert started([user[1], answer, user[0]]) == "<|go-speed|>"
    assert started([{"role": "system", "content": "TBQ3"}, user[1], answer]) == "<|go-repeat_line|>"
    assert started([{"role": "user", "content": "something else"}]) == "<|go-default|>"


def test_a_single_default_script_is_enough() -> None:
    assert build_chains((script("只有這一句。"),)).template.count("<|go-default|>") == 1


@pytest.mark.parametrize(
    ("scripts", "expected"),
    [
        ((), "one default"),
        ((script("甲", "x"),), "one default"),
        ((script("甲"), script("乙", "x")), "one default"),
        ((script("甲", "x"), script("甲")), "cannot be cut"),
    ],
)
def test_unusable_scripts(scripts: tuple[Script, ...], expected: str) -> None:
    with pytest.raises(ArtefactError, match=expected):
        build_chains(scripts)


@pytest.mark.parametrize("changes", [{"trigger": "it's"}, {"trigger": "{{"}, {"answer": "\u2581"}, {"split": "bytes", "answer": "a b"}])
def test_scripts_that_cannot_be_tokens(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"script|trigger"):
        Script.model_validate({"id": "any", "trigger": "", "answer": "甲", **changes})


@settings(deadline=None, max_examples=60)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\u2581"), min_size=1, max_size=80), st.sampled_from(("characters", "bytes"))
)
def test_any_answer_is_said_whole_or_refused(answer: str, split: str) -> None:
    try:
        chains = build_chains((script(answer, split=split if " " not in answer else "characters"),))
    except ArtefactError:
        assert len(answer) < 40  # only short, repetitive texts have no cut
        return
    said = b"".join(chains.vocabulary.text(token) for token in chains.chains[0][1:-1]).decode()
    assert said.replace("\u2581", " ") == answer


# -- heads


@pytest.mark.parametrize("name", ["twin42", "twin64"])
def test_every_token_is_followed_by_its_successor(name: str) -> None:
    chains = build_chains(shipped_scripts())
    twin = ensure_twin(name, "scripted")
    hidden = tensor(twin.target, "token_embd.weight")
    logits = normed(hidden) @ tensor(twin.target, "output.weight").T
    assert misses_of(chains, logits) == set()
    top = np.sort(logits[[token for token, _ in chains.successors]])
    assert (top[:, -1] - top[:, -2]).min() > 5  # nats: no rounding of any backend changes the choice
    assert misses_of(chains, drafter_logits(twin)) == set()


def drafter_logits(twin: TwinPaths) -> NDArray[np.float32]:
    hidden = tensor(twin.target, "token_embd.weight")
    if twin.drafter is None:
        return np.asarray(normed(hidden) @ tensor(twin.target, "blk.64.nextn.shared_head_head.weight").T)
    projection = tensor(twin.drafter, "nextn.pre_projection.weight")[:, : hidden.shape[1]]
    return np.asarray(normed(hidden @ projection.T) @ tensor(twin.drafter, "token_embd.weight").T)


@pytest.mark.parametrize("name", ["twin42", "twin64"])
def test_a_spoiled_drafter_misses_where_it_was_told(name: str) -> None:
    chains = build_chains(shipped_scripts())
    twin = ensure_twin(name, "scripted", acceptance=0.6)
    assert misses_of(chains, drafter_logits(twin)) == plan_misses(chains, 0.6, 2) != frozenset()
    assert np.array_equal(tensor(twin.target, "output.weight"), tensor(ensure_twin(name, "scripted").target, "output.weight"))


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1), st.integers(1, 5))
def test_planned_misses_give_the_wanted_acceptance(acceptance: float, draft_tokens: int) -> None:
    chains = build_chains(shipped_scripts())
    misses = plan_misses(chains, acceptance, draft_tokens)
    accepted = drafted = 0
    chain = chains.chains[0]
    at = 1
    while at + draft_tokens < len(chain):  # a server's rounds, told independently of the plan
        hits = 0
        while hits < draft_tokens and chain[at + hits] not in misses:
            hits += 1
        accepted, drafted, at = accepted + hits, drafted + draft_tokens, at + hits + 1
    assert abs(accepted / drafted - acceptance) < 0.03


def test_a_perfect_drafter_has_no_misses() -> None:
    assert plan_misses(build_chains(shipped_scripts()), 1.0, 3) == frozenset()


def test_geometry_twins_are_random() -> None:
    twin = ensure_twin("twin35", "geometry")
    assert np.abs(tensor(twin.target, "blk.0.attn_output.weight")).max() > 0
    assert not any(t.name == "output.weight" for t in gguf.GGUFReader(twin.target).tensors)


def test_scripted_layers_add_nothing() -> None:
    twin = ensure_twin("twin35", "scripted")
    for name in ("blk.0.attn_output.weight", "blk.34.ffn_down.weight"):
        assert not tensor(twin.target, name).any()
    assert tensor(twin.target, "blk.0.attn_k.weight").any()  # yet the cache is filled with something


# -- store


@pytest.mark.parametrize("name", sorted(TWINS))
def test_drafters_belong_to_their_targets(name: str) -> None:
    twin = ensure_twin(name, "geometry")
    target = check_gguf(twin.target)
    assert target.block_count - target.nextn_layers == int(name.removeprefix("twin"))
    assert target.file_type == "Q8_0"
    if twin.drafter is None:
        assert target.nextn_layers == 1
    else:
        assert drafter_matches(target, check_gguf(twin.drafter)) == ""


def test_a_drafter_of_another_width_does_not_match() -> None:
    geometry, scripted = ensure_twin("twin35", "geometry"), ensure_twin("twin35", "scripted")
    assert scripted.drafter
    assert "belongs to another model" in drafter_matches(check_gguf(geometry.target), check_gguf(scripted.drafter))


def test_written_once() -> None:
    reports: list[str] = []
    first = ensure_twin("twin35", "geometry")
    stamp = first.target.stat().st_mtime_ns
    assert ensure_twin("twin35", "geometry", progress=lambda what, *_: reports.append(what)) == first
    assert (first.target.stat().st_mtime_ns, reports) == (stamp, [])


def test_another_description_is_another_twin() -> None:
    default = ensure_twin("twin35", "scripted").target
    others = [
        ensure_twin("twin35", "scripted", acceptance=0.5).target,
        ensure_twin("twin35", "scripted", acceptance=0.5, draft_tokens=3).target,
        ensure_twin("twin35", "scripted", scripts=(script("換一句話說。"),)).target,
    ]
    assert len({default, *others}) == 4


def test_a_damaged_twin_is_written_again() -> None:
    twin = ensure_twin("twin35", "geometry")
    os.truncate(twin.target, 1000)
    leftover = twin.target.parents[1] / f".{twin.target.parent.name}.tmp"
    leftover.mkdir()
    (leftover / "target.gguf").write_bytes(b"of a killed process")
    assert check_gguf(ensure_twin("twin35", "geometry").target).block_count == 35
    assert not leftover.exists()


def test_twins_of_another_writer_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, other = ensure_twin("twin35", "geometry"), ensure_twin("twin42", "geometry")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_writer_sha256", lambda: "another")
        outdated = ensure_twin("twin35", "scripted", acceptance=0.5)
        unused = ensure_twin("twin35", "scripted", acceptance=0.75)
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(unused.target.with_name("twin.json"), (long_ago, long_ago))
    spoken = ensure_twin("twin35", "scripted")
    assert not unused.target.exists()
    assert outdated.target.exists(), "another checkout may be serving it"
    assert all(path.exists() for path in (kept.target, other.target, spoken.target))
    ensure_twin("twin35", "scripted", acceptance=0.5)
    assert spoken.target.exists()


def test_unknown_twin_lists_the_known() -> None:
    with pytest.raises(ArtefactError, match="twin30, twin35, twin42"):
        ensure_twin("twin99", "geometry")


@pytest.mark.runtime
def test_processes_at_once_write_once(tmp_path: Path) -> None:
    code = (
        "from fixtures.models.twins import ensure_twin\n"
        "seen = []\n"
        "print(ensure_twin('twin42', 'scripted', progress=lambda what, *_: seen.append(what)).target)\n"
        "print(sum(what.startswith('writing') for what in seen))\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0].split() for process in running]
    assert len({target for target, _ in outputs}) == 1
    assert sum(int(writes) for _, writes in outputs) == 1
    assert check_gguf(Path(outputs[0][0])).architecture == "gemma4"
