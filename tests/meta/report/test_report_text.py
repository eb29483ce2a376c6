"""Foreign text made safe, numbers made readable, records read with tolerance."""

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.catalog.limit import Limit
from fixtures.records.verdict import Judgement, Verdict
from fixtures.records.visible import is_hidden, visible
from fixtures.report import fields, numbers
from fixtures.report.charts import Scale
from fixtures.report.inline import prose, whole_prose
from fixtures.report.json_text import json_text
from fixtures.report.safe_text import exact_html, excerpt, hex_lines, utf8

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates and controls included


@given(ANY_TEXT)
def test_visible_text_holds_nothing_hidden_and_is_valid_utf8_and_xml(text):
    shown = visible(text)
    assert not [character for character in shown if is_hidden(character) and character not in "\n\t"]
    shown.encode("utf-8")
    element = ElementTree.Element("a")
    element.text = shown
    assert ElementTree.fromstring(ElementTree.tostring(element)).text == (shown or None)  # noqa: S314


@given(ANY_TEXT)
def test_exact_html_has_no_active_character_but_our_marks(text):
    html = str(exact_html(text)).replace('<i class="ctl">', "").replace("</i>", "")
    assert not set(html) & set("<>\"'")
    html.encode("utf-8")


@pytest.mark.parametrize(
    ("character", "told"),
    [
        ("\u202e", "U+202E"),  # right-to-left override
        ("\u2066", "U+2066"),
        ("\ud800", "U+D800"),  # lone surrogate
        ("\x00", "U+0000"),
        ("\x1b", "U+001B"),
        ("\ufeff", "U+FEFF"),
        ("\u200b", "U+200B"),
        ("\u00a0", "U+00A0"),
        ("\u3164", "U+3164"),  # a letter that is drawn as nothing
        ("\U000e0041", "U+E0041"),  # tag character
        ("\r", "U+000D"),
    ],
)
def test_hidden_characters_are_spelled_out(character, told):
    assert visible(f"a{character}b") == f"a⟨{told}⟩b"
    assert exact_html(f"a{character}b") == f'a<i class="ctl">{told}</i>b'


def test_what_people_read_stays_as_it_is():
    text = "【驗收標記】繁體中文輸出正常。 — café 👍 שלום　x"
    assert visible(text) == text
    assert exact_html(text) == text


def test_line_ends_of_an_answer_are_marked_and_those_of_our_own_layout_are_not():
    assert exact_html("a\n") == 'a<i class="ctl">⏎</i>\n'
    assert exact_html("a\n", mark_breaks=False) == "a\n"


@given(ANY_TEXT, st.integers(min_value=0, max_value=400))
def test_excerpt_fits_its_budget_and_tells_the_whole_size(text, budget):
    part = excerpt(text, budget)
    assert len(str(exact_html(part.shown)).encode("utf-8")) <= budget
    assert text.startswith(part.shown)
    assert part.characters == len(text)
    assert part.sha256 == hashlib.sha256(utf8(text)).hexdigest()
    assert part.cut == (part.shown != text)


def test_excerpt_of_two_megabytes_is_cut_and_hashed_whole():
    text = "文<" * 400_000
    part = excerpt(text, 6_000)
    assert part.cut
    assert part.size_bytes == 1_600_000
    assert part.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_hex_dump_shows_offsets_bytes_and_ascii():
    first, second = hex_lines("繁A\ud800" + "z" * 12, 64)
    assert first == "000000  e7 b9 81 41 ed a0 80 7a 7a 7a 7a 7a 7a 7a 7a 7a  ...A...zzzzzzzzz"
    assert second.startswith("000010  7a 7a 7a ")


def test_a_reason_with_log_lines_is_folded_after_its_first_line():
    whole = whole_prose("server died\n" + "log line\n" * 1000)
    assert whole.head == "server died"
    assert whole.rest.startswith("log line\nlog line")
    assert len(whole.rest) < 2_000
    assert prose("server died\nlog").rest == ""
    assert len(prose("\u202e" * 5000).head) <= 201, "hidden characters grow when they are spelled out"


def test_json_text_keeps_the_shape_of_a_huge_record():
    text = json_text({"answer": "x" * 2_000_000, "requests": [{"n": number} for number in range(500)], "small": "繁"})
    shown = json.loads(text)
    assert len(text) < 4_000
    assert "2,000,000 chars" in shown["answer"]
    assert hashlib.sha256(b"x" * 2_000_000).hexdigest() in shown["answer"]
    assert shown["requests"][-1] == "[… +488]"
    assert shown["small"] == "繁"


def test_json_text_stands_deep_nesting():
    value = []
    for _ in range(200):
        value = [value]
    assert "[… 1]" in json_text(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (359.375, "MiB", "359.38"),
        (61.7, "t/s", "61.70"),
        (30.2595, "PPL", "30.2595"),
        (200.0, "", "200"),
        (1840.0, "", "1,840"),
        (0.125, "", "0.125"),
    ],
)
def test_numbers_have_the_decimals_of_their_unit(value, unit, text):
    assert numbers.number(value, unit) == text


def _judged(limit, measured):
    margin = limit.margin(measured)
    return Judgement(verdict=Verdict.PASS, reason="", measured=measured, limit=limit.bound, margin=margin, unit=limit.unit)


@pytest.mark.parametrize("measured", [10.0, 61.5, 70.0])
@pytest.mark.parametrize(
    ("kind", "text"), [("at_least", "≥ 59.77"), ("at_most", "≤ 63.47"), ("equal", "61.62 ± 1.85")], ids=["at_least", "at_most", "equal"]
)
def test_limit_is_shown_with_its_direction(kind, text, measured):
    limit = Limit(reference=61.62, kind=kind, tolerance=3, relative=True, unit="t/s", source="seed")  # type: ignore[arg-type]
    assert numbers.limit_text(_judged(limit, measured)) == text


@pytest.mark.parametrize("measured", [359.375, 359.38, 359.385, 359.4])
def test_an_exact_limit_keeps_its_sign_halfway_into_its_tolerance(measured):
    limit = Limit(reference=359.38, kind="equal", tolerance=0.01, unit="MiB", source="seed")
    assert numbers.limit_text(_judged(limit, measured)) == "359.38 ± 0.01"


def test_margin_keeps_its_sign():
    assert numbers.signed(0.5, "t/s") == "+0.50"
    assert numbers.signed(-3.68, "t/s") == "−3.68"


def test_times_are_utc_wherever_they_were_taken():
    taipei = datetime(2026, 5, 14, 9, 41, tzinfo=timezone(timedelta(hours=8)))
    assert numbers.time(taipei) == "2026-05-14 01:41 UTC"
    assert numbers.clock(datetime(2026, 5, 14, 1, 2, 3, tzinfo=UTC)) == "2026-05-14 01:02:03 UTC"


def test_reading_tolerates_absence_and_other_types():
    values = {"a": True, "b": "x", "c": None, "d": float("nan"), "e": 2, "f": [1, {"n": 3}], "g": {"n": 1}}
    assert [fields.number(values, key) for key in "abcdez"] == [None, None, None, None, 2.0, None]
    assert [fields.text(values, key) for key in "abceg"] == ["", "x", "", "2", ""]
    assert fields.flag(values, "a") is True
    assert fields.flag(values, "e") is None
    assert fields.rows(values, "f") == [{"n": 3}]
    assert fields.rows(values, "g") == []
    assert fields.column([{"n": 3}, {"n": "x"}, {}], "n") == [3.0]


@given(st.lists(st.floats(min_value=0, max_value=1e7), min_size=1, max_size=8))
def test_scale_holds_every_value_on_few_round_ticks(values):
    scale = Scale(values)
    assert all(0 <= scale.pct(value) <= 100 for value in values)
    assert scale.top >= max(values)
    assert 2 <= len(scale.ticks()) <= 7
    assert scale.ticks()[0] == (0.0, "0")


def test_scale_orders_values():
    scale = Scale([23.0, 61.0])
    assert scale.pct(23.0) < scale.pct(61.0) < 100
