"""Streams, event by event: what is put together, and what is wrong with how it was sent."""

import json

import pytest

from fixtures.measure.streams import read_stream


def chat(text, finish=None):
    return json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish}]}, ensure_ascii=False).encode()


def raw(text, **last):
    return json.dumps({"content": text, "stop": bool(last), **last}, ensure_ascii=False).encode()


def test_a_chat_and_a_completion_add_up():
    found = read_stream([b": ping", chat("繁體"), chat("中文。", "stop"), b'{"choices": [], "usage": {}}', b"[DONE]"])
    assert (found.text, found.finish, found.fault, found.events) == ("繁體中文。", "stop", "", 4)
    found = read_stream([raw("繁體"), raw("", stop_type="eos")])
    assert (found.text, found.finish, found.fault) == ("繁體", "eos", "")


def test_reasoning_is_no_content():
    thought = b'{"choices": [{"delta": {"reasoning_content": "hm"}}]}'
    found = read_stream([thought, chat("好", "stop"), b"[DONE]"])
    assert (found.text, found.reasoning) == ("好", "hm")


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([chat("繁")[:-20], b"[DONE]"], "event 1 of 2 is not UTF-8"),
        ([chat("好"), chat("繁").replace("繁".encode(), "繁".encode()[:-1]), b"[DONE]"], "event 2 of 3 is not UTF-8 (byte"),
        ([b'{"content": 5}', b"[DONE]"], "event 1 of 2 is no answer"),
        ([b'{"error": {"code": 500}}'], "event 1 of 1 is no answer"),
        ([b"<html>"], "event 1 of 1 is no answer"),
        ([chat("好")], "the stream ends after 1 events without saying so"),
        ([], "the stream ends after 0 events"),
    ],
)
def test_what_is_wrong_with_a_stream(events, said):
    if "not UTF-8" in said and len(events) == 2:
        events = [b'{"choices": [{"delta": {"content": "\xe7\xb9"}}]}', b"[DONE]"]
    assert said in read_stream(events).fault
