"""What is broken whatever was asked, and what only looks like it."""

import pytest

from fixtures.measure.checks import CLEAN, EndsCheck, JsonCheck, ScriptCheck, TaiwanCheck, run_checks
from fixtures.measure.prompts import load_prompt

GOOD = "正式環境的組合是「Gemma4 + llama.cpp + MTP/ngram + TBQ3」。"


def failed(text, *checks):
    return [check.name for check in run_checks(text, checks) if not check.passed]


@pytest.mark.parametrize(
    "text",
    [
        "<unused24>",
        "好的<unused24><unused24>",
        "好的<|im_end|>",
        "好的<end_of_turn>",
        "<|channel>thought",
        "好的<turn|>",
        "[/INST] 好的",
        "好的</s>",
        "好的\nuser\n請問",
        "Assistant:\n好的",
        GOOD + "好的，" * 9,
        "Gemma4/" * 8,
        "對" * 30,
        "第一行\n第二行\n" * 6,
        "好\ufffd的",
        "ç¹\x81é«”ä¸\xadæ–‡",
    ],
)
def test_broken_text_is_seen_also_after_a_right_beginning(text):
    assert failed(text, CLEAN) == ["clean"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD,
        "The user said so; the model agreed.",
        "if a < b and c > d: print('<html>')",
        "| a | b |\n|---|---|\n" + "-" * 80,
        "哈哈哈哈哈",
        "一、二、三、四、五。",
        "第一行：春\n第二行：夏\n第三行：秋\n第四行：冬",
    ],
)
def test_sound_text_is_left_alone(text):
    assert failed(text, CLEAN) == []


# each of these passed before: names there, nothing forbidden
NAMES = "Gemma4 llama.cpp MTP ngram TBQ3"
BROKEN_FACTS = {
    "special token": GOOD + "<unused24>",
    "endless repetition": GOOD + "Gemma4 + llama.cpp + " * 6 + "。",
    "cut sentence": "正式環境的組合是「Gemma4 + llama.cpp + MTP/ngram + TBQ3",
    "negation": "正式環境不使用 Gemma4、llama.cpp、MTP/ngram 與 TBQ3。",
    "Latin only": f"{NAMES}。",
}


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize("case", BROKEN_FACTS)
def test_the_fact_prompt_sees_what_it_let_through(style, case):
    checks = getattr(load_prompt("embedded_facts"), style).checks
    assert failed(GOOD, *checks) == []
    assert failed(BROKEN_FACTS[case], *checks), case


def test_json_parses_and_has_its_keys():
    check = JsonCheck(kind="json", keys=("model", "cache"))
    assert failed('```json\n{"model": "Gemma4", "cache": "TBQ3"}\n```', check) == []
    for text in ('{"model": "Gemma4"}', '{"model": "Gemma4", "cache": "TBQ3"', "[]", "", "好的：{}"):
        assert failed(text, check) == ["json"], text


def test_an_end_and_a_share_of_chinese():
    assert failed("好的。 \n", EndsCheck(kind="ends", texts=("。",))) == []
    assert failed("好的", EndsCheck(kind="ends", texts=("。",))) == ["ends"]
    assert failed("All is well.", ScriptCheck(kind="script", script="traditional", min_han_pct=50)) == ["script"]


def test_a_mainland_word_is_a_warning_and_no_fault():
    (found,) = run_checks("這個軟件的質量很好。", [TaiwanCheck(kind="taiwan")])
    assert found.passed
    assert found.warning == "軟件: Taiwan says 軟體; 質量: Taiwan says 品質"
    assert found.warning in found.detail
