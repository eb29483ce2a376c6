"""The text checks: what passes, what fails, and what the message says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.measure.checks import ContainsAllCheck, ContainsNoneCheck, ExactCheck, LinesExactCheck, ScriptCheck, run_checks
from fixtures.measure.mojibake import first_mojibake
from fixtures.measure.taiwan import first_simplified

MARKER = "【驗收標記】繁體中文輸出正常。"
EXACT = ExactCheck(kind="exact", text=MARKER)
LINES = LinesExactCheck(kind="lines_exact", lines=("一行", "二行", "三行"))
ALL = ContainsAllCheck(kind="contains_all", groups=(("Gemma4", "Gemma 4"), ("TBQ3",)))
NONE = ContainsNoneCheck(kind="contains_none", texts=("vLLM", "FP8"))
TRADITIONAL = ScriptCheck(kind="script", script="traditional")

# words whose characters are common in Traditional Chinese texts of all kinds
WORDS = st.sampled_from(
    [
        *("驗收標記", "繁體中文", "輸出正常", "港口", "燈塔", "漁夫", "測量", "圖書館", "溫度", "資料中心"),
        *("憂鬱", "鐘錶匠", "學習", "機器", "穩定", "檯燈", "臺灣", "裡面", "為了", "來回"),
    ]
)
TEXTS = st.lists(WORDS, min_size=2).map("，".join)


def result(text, check):
    (only,) = run_checks(text, [check])
    return only


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (MARKER, EXACT),
        (MARKER + " \n\n", EXACT),
        ("一行\n二行\n三行", LINES),
        ("一行 \n二行\t\n三行\n\n", LINES),
        ("一行\r\n二行\r\n三行\r\n", LINES),
        ("TBQ3 with Gemma 4", ALL),
        ("Gemma4/TBQ3", ALL),
        ("llama.cpp", NONE),
        ("", NONE),
        ("繁體中文，Gemma4 + llama.cpp。Café “naïve” — 25 °C, 3½ 😀", TRADITIONAL),
        ("看着夕陽，台灣、台北、發展、後面、皇后、公里、雲端、人云亦云、乾淨、若干。", TRADITIONAL),
    ],
)
def test_passes(text, check):
    assert result(text, check).passed


@pytest.mark.parametrize(
    ("text", "check", "message"),
    [
        ("", EXACT, f"answer is '', expected {MARKER!r}; first difference at code point 1: the end instead of '【' (U+3010)"),
        (MARKER + "好", EXACT, "first difference at code point 16: '好' (U+597D) instead of the end"),
        ("\n" + MARKER, EXACT, r"first difference at code point 1: '\n' (U+000A) instead of '【' (U+3010)"),
        (MARKER.replace("體", "体"), EXACT, "first difference at code point 8: '体' (U+4F53) instead of '體' (U+9AD4)"),
        (MARKER.replace("。", "."), EXACT, "first difference at code point 15: '.' (U+002E) instead of '。' (U+3002)"),
        ("一行\n二行", LINES, "answer is 2 lines, expected 3; it lacks: '三行'"),
        ("一行\n二行\n三行\n四行", LINES, "answer is 4 lines, expected 3; it has more: '四行'"),
        ("一行\n三行\n二行", LINES, "answer's line 2 is '三行', expected '二行'; first difference at code point 1"),
        ("一行\n一行\n二行\n三行", LINES, "answer's line 2 is '一行', expected '二行'"),
        ("一行\n\n二行\n三行", LINES, "answer's line 2 is '', expected '二行'"),
        ("一行\u2028二行\u2028三行", LINES, r"answer's line 1 is '一行\u2028二行\u2028三行', expected '一行'"),
        ("Gemma-4", ALL, "answer is 'Gemma-4', expected it to contain 'Gemma4' or 'Gemma 4', 'TBQ3'"),
        ("gemma4 tbq3", ALL, "expected it to contain 'Gemma4' or 'Gemma 4', 'TBQ3'"),
        ("vLLM, FP8", NONE, "answer is 'vLLM, FP8', expected it not to contain 'vLLM', 'FP8'"),
        ("繁体中文", TRADITIONAL, "code point 2 is the simplified '体' (U+4F53)"),
        ("這是国家", TRADITIONAL, "code point 3 is the simplified '国' (U+56FD)"),
        ("繁體\ufffd文", TRADITIONAL, "code point 3: U+FFFD stands where bytes were not UTF-8"),
        ("好 ã\x80\x90é©\x97", TRADITIONAL, "code point 3: mojibake, UTF-8 read as Windows-1252; meant '【驗'"),
        ("é©—æ”¶", TRADITIONAL, "UTF-8 read as Windows-1252; meant '驗收'"),
    ],
)
def test_fails_with_a_message_that_says_it_all(text, check, message):
    found = result(text, check)
    assert not found.passed
    assert found.name == check.kind
    assert message in found.detail


def test_a_long_answer_is_cut_in_the_message():
    assert len(result("字" * 2_000_000, EXACT).detail) < 400


@pytest.mark.parametrize("odd", ["\ud83d", "a\x00b", "\u202e反轉", "<script>alert(1)</script>", "字" * 100_000])
@pytest.mark.parametrize("check", [EXACT, LINES, ALL, NONE, TRADITIONAL])
def test_no_answer_breaks_a_check(odd, check):
    detail = result(odd, check).detail
    detail.encode("utf-8")  # a lone surrogate is shown escaped
    assert "\x00" not in detail
    assert "\u202e" not in detail


def test_results_come_in_order_and_none_are_refused():
    assert [found.name for found in run_checks(MARKER, [TRADITIONAL, EXACT])] == ["script", "exact"]
    with pytest.raises(ValueError, match="no checks given"):
        run_checks(MARKER, [])


@given(st.text(), st.text(min_size=1))
def test_exact_is_equality_up_to_trailing_white_space(answer, expected):
    assert result(answer, ExactCheck(kind="exact", text=expected)).passed == (answer.rstrip() == expected)


@given(TEXTS)
def test_clean_text_is_clean(text):
    assert first_mojibake(text) is None
    assert first_simplified(text) is None


@given(TEXTS, st.sampled_from(["latin-1", "cp1252", "cp950", "gbk", "ascii"]))
def test_utf8_read_in_any_wrong_encoding_is_seen(text, codec):
    assert first_mojibake(text.encode("utf-8").decode(codec, errors="replace")) is not None


@given(TEXTS, st.sampled_from(["big5", "utf-16-le"]))
def test_other_encodings_read_as_utf8_are_seen(text, codec):
    garbled = text.encode(codec).decode("utf-8", errors="replace")
    assert first_mojibake(garbled) is not None or not re.search(r"[一-鿿]", garbled)


@given(TEXTS, st.integers(min_value=1, max_value=2))
def test_a_character_cut_in_two_is_seen(text, lost):
    assert first_mojibake(text.encode("utf-8")[:-lost].decode("utf-8", errors="replace")) is not None
