"""Shipped prompts, sets and corpora are sound; sets that are not, and names that are none, are refused with one message."""

import hashlib
import re
from collections import Counter

import pytest

from fixtures.measure import prompts
from fixtures.measure.checks import ContainsAllCheck, ExactCheck, LinesExactCheck, run_checks
from fixtures.measure.mojibake import first_mojibake
from fixtures.measure.prompts import PROMPTS, PromptError, SpeedSet, corpus_path, corpus_sha256, load_prompt, load_speed_set
from fixtures.measure.speed_prompts import load_speed_prompts
from fixtures.measure.taiwan import first_simplified
from fixtures.models.twins.scripts import shipped_scripts

COHERENCE = sorted(file.stem for file in (PROMPTS / "coherence").glob("*.toml"))
SPEED = sorted(file.stem for file in (PROMPTS / "speed").glob("*.toml"))
CORPORA = sorted(file.stem for file in (PROMPTS / "corpora").glob("*.txt"))
TRIGGERS = {"zh_marker": "驗收標記", "embedded_facts": "TBQ3", "repeat_line": "逐行"}  # what a scripted twin knows the prompt by
CORE = {"zh_marker": "收", "embedded_facts": "TBQ3", "repeat_line": "依"}  # of its answer: without it, no answer may pass


def test_every_shipped_prompt_has_its_trigger_and_its_core():
    assert set(COHERENCE) == set(TRIGGERS) == set(CORE)


@pytest.mark.parametrize("prompt_id", COHERENCE)
def test_prompt_loads_with_the_hash_of_its_file(prompt_id):
    prompt = load_prompt(prompt_id)
    assert prompt.id == prompt_id
    assert prompt.sha256 == hashlib.sha256((PROMPTS / "coherence" / f"{prompt_id}.toml").read_bytes()).hexdigest()
    assert prompt.chat.messages[-1].role == "user"
    assert prompt.completion.stop, "a base model never ends by itself"


@pytest.mark.parametrize("prompt_id", COHERENCE)
def test_twins_find_exactly_their_trigger(prompt_id):
    """A scripted twin answers by the first trigger in the last user message, so each message may hold only its own."""
    asked = load_prompt(prompt_id).chat.messages[-1].content
    found = {trigger for trigger in (*TRIGGERS.values(), prompts.SPEED_MARK) if trigger in asked}
    assert found == {TRIGGERS[prompt_id]}


@pytest.mark.parametrize("prompt_id", COHERENCE)
def test_what_the_twins_say_passes(prompt_id):
    said = next(script.answer for script in shipped_scripts() if script.id == prompt_id)
    assert all(check.passed for check in run_checks(said, load_prompt(prompt_id).chat.checks))


@pytest.mark.parametrize("prompt_id", COHERENCE)
@pytest.mark.parametrize("style", ["chat", "completion"])
def test_every_prompt_refuses_a_wrong_answer(prompt_id, style):
    """Nothing, another prompt's answer, and the right answer with one character lost."""
    checks = getattr(load_prompt(prompt_id), style).checks
    right = {script.id: script.answer for script in shipped_scripts()}
    shortened = right[prompt_id].replace(CORE[prompt_id], "", 1)
    others = [answer for script_id, answer in right.items() if script_id != prompt_id]
    for wrong in ["", *others, shortened, right[prompt_id].replace("記", "记").replace("燈", "灯") + "们"]:
        assert not all(check.passed for check in run_checks(wrong, checks)), wrong


def test_expected_texts_are_those_of_the_seed():
    exact = [check for check in load_prompt("zh_marker").chat.checks if isinstance(check, ExactCheck)]
    assert [check.text for check in exact] == ["【驗收標記】繁體中文輸出正常。"]
    lines = [check for check in load_prompt("repeat_line").chat.checks if isinstance(check, LinesExactCheck)]
    assert [len(check.lines) for check in lines] == [6]
    assert len(set(lines[0].lines)) == 6
    facts = [check for check in load_prompt("embedded_facts").chat.checks if isinstance(check, ContainsAllCheck)]
    assert [group[0] for group in facts[0].groups] == ["Gemma4", "llama.cpp", "MTP", "ngram", "TBQ3"]


def test_shared_checks_come_before_a_styles_own():
    prompt = load_prompt("embedded_facts")
    shared = ["contains_all", "script", "contains_none", "ends", "taiwan"]
    assert [check.kind for check in prompt.chat.checks] == [*shared, "contains_none", "clean"]
    assert prompt.chat.checks[5] != prompt.completion.checks[5]


# -- speed sets


@pytest.mark.parametrize("api", ["chat", "completion"])
@pytest.mark.parametrize("set_id", SPEED)
def test_speed_prompts_are_distinct_and_always_the_same(set_id, api):
    speed = load_speed_prompts(set_id)
    texts = [speed.at(place, 7, api).text for place in range(speed.count)]
    assert speed.count >= 40
    assert len(set(texts)) == speed.count
    assert all(prompts.SPEED_MARK in text for text in texts)
    assert texts == [load_speed_prompts(set_id).at(place, 7, api).text for place in range(speed.count)]


def test_a_mix_takes_turns_and_is_another_with_another_seed():
    mix = load_speed_prompts("mix")
    names = [category.id for category in mix.categories]
    assert [mix.at(place, 7, "chat").category for place in range(12)] == names * 2
    assert all(mix.at(place, 7, "chat").text != mix.at(place, 8, "chat").text for place in range(12))
    with pytest.raises(PromptError, match="a prompt sent twice to one launch would be drafted from memory"):
        mix.at(mix.count, 7, "chat")


def test_a_set_is_the_same_with_each_seed():
    """What a report was measured over is no draw."""
    speed = load_speed_prompts("repetitive-en")
    assert speed.at(3, 7, "chat").text == speed.at(3, 8, "completion").text == load_speed_set("repetitive-en").prompt(3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ('[[categories]]\nform = "speed-chat"\n', "a mix has two categories or more, this one 1"),
        ('[[categories]]\nform = "speed-chat"\n' * 2, "form speed-chat is two categories"),
        ('[[categories]]\nform = "speed-chat"\n[[categories]]\nform = "speed-chta"\n', "did you mean speed-chat?"),
        ('[[categories]]\nform = "speed-chat"\n[[categories]]\nform = "speed-code"\nowes = ["eagle"]\n', "owes"),
    ],
)
def test_a_mix_that_is_none_is_refused(tmp_path, changes, says):
    file = tmp_path / "own.toml"
    file.write_text(f'schema = 1\nid = "own"\ntitle = "Own"\nlanguage = "mul"\nignore_eos = true\n{changes}', "utf-8")
    with pytest.raises(PromptError, match=re.escape(says)):
        load_speed_prompts(str(file))


@pytest.mark.parametrize("set_id", sorted({*SPEED} - {"mix"}))
def test_speed_prompts_share_no_long_passage(set_id):
    """24 tokens is what ngram-mod matches by default, and a word is a token or more."""
    speed = load_speed_set(set_id)
    owner = {}
    for index in range(speed.count):
        words = re.findall(r"\w+", speed.prompt(index))
        for start in range(len(words) - 14):
            passage = tuple(words[start : start + 15])
            assert owner.setdefault(passage, index) == index, " ".join(passage)


@pytest.mark.parametrize("index", [-1, 48, 10_000])
def test_no_prompt_is_given_twice(index):
    with pytest.raises(PromptError, match="has 48 distinct prompts, 0 to 47, and was asked for"):
        load_speed_set("repetitive-en").prompt(index)


def speed_set(**changes):
    table = {"schema": 1, "id": "x", "title": "x", "language": "en", "count": 6, "ignore_eos": True, "sha256": "0" * 64}
    template = {"template": "readiness speed {number} {a} {b}", "pools": {"a": ["1", "2"], "b": ["x", "y", "z"]}}
    return SpeedSet.model_validate({**table, **template, **changes})


def test_a_set_has_as_many_prompts_as_its_pools_allow():
    assert len({speed_set().prompt(index) for index in range(6)}) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 7}, "only 6 of 7 prompts are distinct, their number aside"),
        ({"pools": {"a": ["1", "2"], "b": ["x", "y"]}}, "only 2 of 6"),
        ({"pools": {"a": ["1", "2"]}}, "the template uses a, b, number, but number and the pools are a, number"),
        ({"template": "faster {number} {a} {b}"}, 'lacks "readiness speed"'),
        ({"template": "readiness speed {a} {b}"}, "the template uses a, b, but"),
    ],
)
def test_an_unsound_set_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        speed_set(**changes)


# -- corpora


def test_the_local_hosts_corpus_ships():
    assert "readiness-bilingual" in CORPORA


@pytest.mark.parametrize("corpus_id", CORPORA)
def test_corpus_is_clean_text(corpus_id):
    content = corpus_path(corpus_id).read_bytes()
    text = content.decode("utf-8")
    assert 26_000 <= len(content) <= 30_000
    assert "\r" not in text
    assert text.endswith("\n")
    assert first_mojibake(text) is None
    assert first_simplified(text) is None
    assert corpus_sha256(corpus_id) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("corpus_id", CORPORA)
def test_corpus_does_not_repeat_itself(corpus_id):
    words = re.findall(r"\w+", corpus_path(corpus_id).read_text(encoding="utf-8").lower())
    passages = Counter(tuple(words[start : start + 7]) for start in range(len(words) - 6))
    assert [passage for passage, times in passages.items() if times > 1] == []


# -- what is missing or broken


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_prompt("zh-marker"), f"did you mean zh_marker? There are: {', '.join(COHERENCE)}."),
        (lambda: load_prompt("../speed/repetitive-en"), "no coherence prompt"),
        (lambda: load_speed_set("repetitive_en"), "did you mean repetitive-en?"),
        (lambda: corpus_path("readiness"), "did you mean readiness-bilingual?"),
        (lambda: corpus_sha256("/nowhere/corpus.txt"), "corpus /nowhere/corpus.txt is not a file"),
        (lambda: load_prompt("zh_marker", "/nowhere"), "/nowhere is no folder of coherence prompts"),
    ],
)
def test_a_missing_name_gets_one_message_with_the_nearest(call, message):
    with pytest.raises(PromptError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
