"""The soak's parts without a server: what is asked and how it is read, slopes, what a crash leaves behind, how long was asked for."""

import itertools
import json
import math
import random

import pytest

from fixtures.host.processes import boot_id
from fixtures.measure.prompts import load_prompt
from fixtures.measure.soak_record import FlightRecorder, broken_off
from fixtures.measure.soak_traffic import ask, fault_of
from fixtures.measure.soak_trend import last_quarter, settled, trend
from fixtures.records.soak import SoakBudget, parse_soak

PROMPTS = [load_prompt(name) for name in ("zh_marker", "embedded_facts", "repeat_line")]
LINES = PROMPTS[2].chat.checks[0].lines
ANSWER = "\n".join(LINES)
KINDS = {"whole", "streamed", "cut", "long", "cancelled"}


def asked(kind, api="chat"):
    return next(
        one for one in (ask(number, PROMPTS, api) for number in itertools.count()) if one.kind == kind and one.prompt == "repeat_line"
    )


def test_traffic_is_mixed_and_always_the_same():
    first = [ask(number, PROMPTS, "chat") for number in range(72)]
    assert first == [ask(number, PROMPTS, "chat") for number in range(72)]
    assert {one.kind for one in first} == KINDS
    assert {one.prompt for one in first} == {"repeat_line", "zh_marker", "embedded_facts"}
    assert {one.body["cache_prompt"] for one in first} == {True, False}
    assert len({one.least for one in first[:16] if one.kind == "cut"}) == 5
    assert {one.prompt for one in first[:4]} == {"repeat_line", "zh_marker", "embedded_facts"}
    assert {ask(number, PROMPTS, "completion").path for number in range(72)} == {"/completion"}
    assert len(asked("long").body["messages"]) > len(asked("whole").body["messages"])


@pytest.mark.parametrize(
    ("kind", "text", "finish", "tokens", "said"),
    [
        ("whole", ANSWER, "stop", 43, ""),
        ("whole", ANSWER.replace("春", "冬"), "stop", 43, "lines_exact: answer's line 1 is"),
        ("whole", ANSWER, "length", 43, "it was cut off at its longest length"),
        ("whole", "", "stop", 0, "no text"),
        ("whole", ANSWER, "", 43, "it ended with ''"),
        ("cut", ANSWER[:9], "length", 4, ""),
        ("cut", ANSWER[:9] + "\ufffd", "length", 4, ""),
        ("cut", ANSWER[:9], "length", 3, "3 tokens, asked for 4"),
        ("cut", "第二行", "length", 4, "expected the beginning of '第一行"),
        ("long", "一二三四", "length", 256, ""),
        ("long", "<unused24>" * 9, "length", 256, "clean: "),
        ("streamed", ANSWER + "<end_of_turn>", "stop", None, "lines_exact: "),
    ],
)
def test_every_answer_is_read(kind, text, finish, tokens, said):
    found = fault_of(asked(kind), text, finish, tokens)
    assert found.startswith(said) if not said else said in found
    assert bool(found) == bool(said)


def sawtooth(n, leak, seed=7, height=4000.0, period=23):
    """KiB of a server that fills a pool and empties it, and leaks a little each time."""
    rng = random.Random(seed)  # noqa: S311 - noise, no secret
    return [500_000 + leak * i + height * (i % period) / period + rng.uniform(0, 200) for i in range(n)]


@pytest.mark.parametrize("leak", [0.0, 64.0])
def test_troughs_tell_a_leak_from_a_sawtooth(leak):
    found = trend(settled(sawtooth(299, leak)))
    assert found.low <= leak + 8
    assert found.high >= leak - 8
    assert (found.low > 32) is (leak > 0)
    assert (found.high <= 32) is (leak == 0)


def test_a_leak_that_begins_late_shows_in_the_last_quarter():
    clean = sawtooth(299, 0.0, period=7, height=500.0)
    late = [value + 64 * max(0, number - 220) for number, value in enumerate(clean)]
    assert trend(last_quarter(settled(late))).low > 32
    assert trend(last_quarter(settled(clean))).low <= 32


def test_what_is_too_short_has_no_slope():
    assert trend([1.0] * 35) is None
    assert last_quarter([1.0, 2.0]) == ()


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("299", SoakBudget(requests=299)),
        ("45s", SoakBudget(seconds=45)),
        ("90m", SoakBudget(seconds=5400)),
        ("2H", SoakBudget(seconds=7200)),
    ],
)
def test_a_length_is_requests_or_time(text, budget):
    assert parse_soak(text) == budget


@pytest.mark.parametrize("text", ["", "0", "0h", "-1", "2 hours", "1.5h", "h", "999h", "nan", "２"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(ValueError, match=r"expected a number of requests \(299\), or a time up to a week"):
        parse_soak(text)


def left_behind(tmp_path, *lines):
    """The flight record of an earlier run."""
    logs = tmp_path / "20261125T000000Z-x-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "soak-a-q8.jsonl").write_bytes(b"".join(lines))
    return tmp_path / "20261126T000000Z-x-2" / "logs"


def line(**told):
    return json.dumps(told).encode() + b"\n"


@pytest.mark.parametrize(
    ("boot", "said"), [("another", "the machine restarted meanwhile (its boot id changed)"), (None, "its session ended without a word")]
)
def test_a_crash_is_told_by_what_it_left_behind(tmp_path, boot, said):
    torn = b'{"done": 11, "num'
    now = left_behind(tmp_path, line(boot=boot or boot_id(), pid=1), line(done=9, number=9), line(done=10, number=11), torn)
    found = broken_off(now, "a-q8")
    assert found == f"the soak of run 20261125T000000Z-x-1 broke off after request 11 (10 done): {said}"
    assert broken_off(now, "b-q8") == ""


def test_a_soak_that_ended_left_nothing_to_tell(tmp_path):
    logs = tmp_path / "20261125T000000Z-x-1" / "logs"
    logs.mkdir(parents=True)
    with FlightRecorder(logs, "a-q8") as recorder:
        recorder.finished(1, 0, "whole", "")
    assert broken_off(tmp_path / "20261126T000000Z-x-2" / "logs", "a-q8") == ""
    assert broken_off(logs, "a-q8") == ""


def test_299_is_what_shows_fewer_than_1_pct():
    assert math.isclose(100 * (1 - 0.05 ** (1 / 299)), 0.997, abs_tol=0.001)
