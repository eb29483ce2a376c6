"""Twins say their scripts by construction, and their drafters are right as often as asked."""

import tomllib

import gguf
import jinja2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import ROOT

from fixtures.models.artefacts import ArtefactError
from fixtures.models.twins import ensure_twin
from fixtures.models.twins.heads import plan_misses
from fixtures.models.twins.scripts import Script, build_chains, shipped_scripts

PROMPTS = ROOT / "prompts" / "coherence"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "twins"))


def tensor(path, name):
    found = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    return np.asarray(gguf.quants.dequantize(found.data, found.tensor_type), np.float32)


def normed(rows):
    """RMS norm with unit weights, as before an output matrix."""
    return rows / np.sqrt((rows**2).mean(axis=-1, keepdims=True))


def misses_of(chains, logits):
    return {token for token, successor in chains.successors if logits[token].argmax() != successor}


def script(answer, trigger="", **more):
    return Script.model_validate({"id": "any" if trigger else "default", "trigger": trigger, "answer": answer, **more})


# -- scripts and chains


def test_pieces_are_unique_and_join_to_the_answers():
    scripts = shipped_scripts()
    chains = build_chains(scripts)
    pieces = [chain[1:-1] for chain in chains.chains]
    tokens = [token for chain in pieces for token in chain]
    assert len(tokens) == len(set(tokens))
    said = [b"".join(chains.vocabulary.text(token) for token in chain).decode() for chain in pieces]
    assert [text.replace("\u2581", " ") for text in said] == [each.answer for each in scripts]


def test_shipped_answers():
    answers = {each.id: each.answer for each in shipped_scripts()}
    assert answers["zh_marker"] == "【驗收標記】繁體中文輸出正常。"
    assert all(part in answers["embedded_facts"] for part in ("Gemma4", "llama.cpp", "MTP/ngram", "TBQ3"))
    assert len(set(answers["repeat_line"].split("\n"))) == 6
    chains = dict(zip(answers, build_chains(shipped_scripts()).chains, strict=True))
    assert len(chains["speed"]) - 2 >= 160


def test_the_marker_is_cut_inside_characters():
    chains = build_chains(shipped_scripts())
    marker = [chains.vocabulary.text(token) for token in chains.chains[1][1:-1]]

    def is_text(piece):
        try:
            return bool(piece.decode())
        except UnicodeDecodeError:
            return False

    assert not any(is_text(piece) for piece in marker)


@pytest.mark.parametrize("prompt", ["zh_marker", "embedded_facts", "repeat_line"])
def test_answers_agree_with_the_coherence_prompts(prompt):
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


def started(messages):
    """The start token that the template chooses."""
    template = jinja2.Environment(autoescape=False).from_string(build_chains(shipped_scripts()).template)  # noqa: S701 - no HTML
    return template.render(messages=messages, add_generation_prompt=True).rsplit("\n", 1)[-1]


def test_template_listens_to_the_last_user_message():
    user = [{"role": "user", "content": text} for text in ("readiness speed 7", "請逐行照抄")]
    answer = {"role": "assistant", "content": "驗收標記"}
    assert started(user[:1]) == "<|go-speed|>"
    assert started(user) == "<|go-repeat_line|>"
    assert started([user[1], answer, user[0]]) == "<|go-speed|>"
    assert started([{"role": "system", "content": "TBQ3"}, user[1], answer]) == "<|go-repeat_line|>"
    assert started([{"role": "user", "content": "something else"}]) == "<|go-default|>"


def test_a_single_default_script_is_enough():
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
def test_unusable_scripts(scripts, expected):
    with pytest.raises(ArtefactError, match=expected):
        build_chains(scripts)


@pytest.mark.parametrize("changes", [{"trigger": "it's"}, {"trigger": "{{"}, {"answer": "\u2581"}, {"split": "bytes", "answer": "a b"}])
def test_scripts_that_cannot_be_tokens(changes):
    with pytest.raises(ValueError, match=r"script|trigger"):
        Script.model_validate({"id": "any", "trigger": "", "answer": "甲", **changes})


@settings(max_examples=60)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\u2581"), min_size=1, max_size=80), st.sampled_from(("characters", "bytes"))
)
def test_any_answer_is_said_whole_or_refused(answer, split):
    try:
        chains = build_chains((script(answer, split=split if " " not in answer else "characters"),))
    except ArtefactError:
        assert len(answer) < 40  # only short, repetitive texts have no cut
        return
    said = b"".join(chains.vocabulary.text(token) for token in chains.chains[0][1:-1]).decode()
    assert said.replace("\u2581", " ") == answer


# -- heads


@pytest.mark.parametrize("name", ["twin42", "twin64"])
def test_every_token_is_followed_by_its_successor(name):
    chains = build_chains(shipped_scripts())
    twin = ensure_twin(name, "scripted")
    hidden = tensor(twin.target, "token_embd.weight")
    logits = normed(hidden) @ tensor(twin.target, "output.weight").T
    assert misses_of(chains, logits) == set()
    top = np.sort(logits[[token for token, _ in chains.successors]])
    assert (top[:, -1] - top[:, -2]).min() > 5  # nats: no rounding of any backend changes the choice
    assert misses_of(chains, drafter_logits(twin)) == set()


def drafter_logits(twin):
    hidden = tensor(twin.target, "token_embd.weight")
    if twin.drafter is None:
        return np.asarray(normed(hidden) @ tensor(twin.target, "blk.64.nextn.shared_head_head.weight").T)
    projection = tensor(twin.drafter, "nextn.pre_projection.weight")[:, : hidden.shape[1]]
    return np.asarray(normed(hidden @ projection.T) @ tensor(twin.drafter, "token_embd.weight").T)


@pytest.mark.parametrize("name", ["twin42", "twin64"])
def test_a_spoiled_drafter_misses_where_it_was_told(name):
    chains = build_chains(shipped_scripts())
    twin = ensure_twin(name, "scripted", acceptance=0.6)
    assert misses_of(chains, drafter_logits(twin)) == plan_misses(chains, 0.6, 2) != frozenset()
    assert np.array_equal(tensor(twin.target, "output.weight"), tensor(ensure_twin(name, "scripted").target, "output.weight"))


@settings(max_examples=60)
@given(st.floats(0, 1), st.integers(1, 5))
def test_planned_misses_give_the_wanted_acceptance(acceptance, draft_tokens):
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


def test_a_perfect_drafter_has_no_misses():
    assert plan_misses(build_chains(shipped_scripts()), 1.0, 3) == frozenset()


def test_geometry_twins_are_random():
    twin = ensure_twin("twin35", "geometry")
    assert np.abs(tensor(twin.target, "blk.0.attn_output.weight")).max() > 0
    assert not any(t.name == "output.weight" for t in gguf.GGUFReader(twin.target).tensors)


def test_scripted_layers_add_nothing():
    twin = ensure_twin("twin35", "scripted")
    for name in ("blk.0.attn_output.weight", "blk.34.ffn_down.weight"):
        assert not tensor(twin.target, name).any()
    assert tensor(twin.target, "blk.0.attn_k.weight").any()  # yet the cache is filled with something
