"""Forms: prompts drawn from a seed are always the same, never twice the same, and can be judged; unsound forms are refused."""

import re

import pytest

from fixtures.catalog.load import PROMPTS
from fixtures.measure import forms
from fixtures.measure.checks import ExactCheck, LinesExactCheck, run_checks
from fixtures.measure.forms import Form, load_form
from fixtures.measure.prompts import SPEED_MARK, PromptError

FORMS = sorted(file.stem for file in (PROMPTS / "forms").glob("*.toml"))
SPEED = [form for form in FORMS if form.startswith("speed-")]


@pytest.fixture(scope="module", params=FORMS)
def drawn(request):
    return load_form(request.param)


def texts(prompt):
    return prompt.model_dump_json(include={"chat", "completion"})


def test_what_is_drawn_today_is_drawn_for_ever():
    """Another answer here means another generator: raise GENERATOR, or older evidence would be taken for today's."""
    exact = load_form("marker").prompt(7, 3).chat.checks[0]
    assert forms.GENERATOR == 1
    assert exact == ExactCheck(kind="exact", text="【農夫8316】書店的帳本是銀色。")


def test_every_kind_of_prompt_is_there():
    kinds = ["chat", "code", "json", "reasoning", "repetition", "summary"]
    assert ["facts", "json", "lines", "marker", "rare", *(f"speed-{kind}" for kind in kinds)] == FORMS


def test_a_seed_gives_the_same_prompts_again_and_none_twice(drawn):
    first, last = ([texts(drawn.prompt(seed, index)) for index in range(drawn.count)] for seed in (0, 4294967295))
    for prompts in (first, last):
        assert len({re.sub(r"\d+", "", prompt) for prompt in prompts}) == len(prompts)
    assert first == [texts(load_form(drawn.id).prompt(0, 0)), *first[1:]]
    assert not set(first) & set(last)


def test_seeds_share_no_prompt(drawn):
    assert len({texts(drawn.prompt(seed, 0)) for seed in range(100)}) > 95


def test_identity_is_of_form_and_generator_not_of_the_seed(drawn, monkeypatch):
    before = drawn.identity
    assert before == load_form(drawn.id).identity
    monkeypatch.setattr(forms, "GENERATOR", 2)
    assert drawn.identity != before


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_an_answer_to_another_seed_is_refused(drawn, style):
    """What a cache, or ngram-mod's memory, would say: the right answer of another run."""
    mine, other = (getattr(drawn.prompt(seed, 0), style).checks for seed in (1, 2))
    said = [check.text if isinstance(check, ExactCheck) else "\n".join(check.lines) for check in other if _demands(check)]
    for answer in ("", *said, "<unused24>" * 40):
        assert not all(check.passed for check in run_checks(answer, mine)), answer


def _demands(check):
    return isinstance(check, ExactCheck | LinesExactCheck)


@pytest.mark.parametrize("form_id", SPEED)
def test_scripted_twins_know_a_speed_prompt(form_id):
    prompt = load_form(form_id).prompt(1, 0)
    assert SPEED_MARK in prompt.chat.messages[-1].content
    assert SPEED_MARK in prompt.completion.prompt


def form(**changes):
    style = {"max_tokens": 8, "checks": [{"kind": "contains_all", "groups": [["{b}"]]}]}
    table = {
        "schema": 1,
        "id": "x",
        "title": "x",
        "language": "en",
        "count": 6,
        "sha256": "0" * 64,
        "pools": {"a": ["k", "l"], "b": list("xyz")},
    }
    chat = {**style, "messages": [{"role": "user", "content": "{a} {b}"}]}
    return Form.model_validate({**table, "chat": chat, "completion": {**style, "prompt": "{a} {b}"}, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 7}, "only 6 of 7 prompts are distinct, their numbers aside: lengthen the pools"),
        ({"pools": {"a": ["k", "l"]}}, "its texts use a, b, but its pools and numbers are a"),
        ({"pools": {"a": ["k", "l"], "b": ["x", "xy", "z"]}}, "in pool b 'x' stands in 'xy': no check could tell them apart"),
        ({"pools": {"a": ["k", "l"], "b": ["x", "x", "z"]}}, "in pool b 'x' stands in 'x'"),
        ({"numbers": {"c": 3}}, "its texts use a, b, but its pools and numbers are a, b, c"),
        (
            {"completion": {"max_tokens": 8, "prompt": "{a} {b_4}", "checks": [{"kind": "exact", "text": "{a}"}]}},
            "its texts take 4 entries of pool b, which has 3",
        ),
        (
            {"completion": {"max_tokens": 8, "prompt": "{a!r} {b}", "checks": [{"kind": "exact", "text": "{a}"}]}},
            "{a} is no gap: expected {pool} or {pool_2}; a brace that is meant as such is doubled",
        ),
        (
            {
                "completion": {
                    "max_tokens": 8,
                    "prompt": "{b}",
                    "checks": [{"kind": "exact", "text": "{a}"}, {"kind": "contains_none", "texts": ["k"]}],
                }
            },
            "filled in, no answer can pass its checks: what `exact` demands fails `contains_none`",
        ),
    ],
)
def test_an_unsound_form_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        form(**changes)


@pytest.mark.parametrize("index", [-1, 6])
def test_a_form_gives_no_prompt_twice(index):
    with pytest.raises(PromptError, match="form x has 6 distinct prompts a seed, 0 to 5, and was asked for"):
        form().prompt(0, index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbfschema = 1", "starts with a byte-order mark"),
        (b"schema = 1\ntitle = '\xff'", "is not UTF-8 (byte 20)"),
        (b"schema = 1\nid = 'broken'", "is missing; it is a required key."),
    ],
    ids=["bom", "bytes", "keys"],
)
def test_a_broken_file_is_one_message_with_its_name(tmp_path, content, message):
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(PromptError, match=re.escape(message)) as caught:
        load_form(str(file))
    assert "broken.toml" in str(caught.value)


def test_an_unknown_check_is_named_with_its_place(tmp_path):
    text = (PROMPTS / "forms" / "marker.toml").read_text().replace('kind = "exact"', 'kind = "exactly"').replace('"marker"', '"copy"')
    file = tmp_path / "copy.toml"
    file.write_text(text)
    with pytest.raises(PromptError, match='"exactly"; did you mean'):
        load_form(str(file))
