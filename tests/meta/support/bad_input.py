"""Bad input of every kind: what a door must say of it, and that it says it in time."""

import re
import signal
from contextlib import contextmanager

import pytest

from fixtures.records.visible import is_hidden

LONGEST_S = 10
FOREIGN = ("Traceback", "pydantic", "[Errno", "<class", "validation error", "INTERNALERROR", "object at 0x")


@contextmanager
def in_time():
    """Fails the test where what runs within does not end: a pipe without a writer, a server that drips."""

    def late(*_):
        raise AssertionError(f"still not ended after {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_words(text, *parts):
    """One message for people: in our own words, nothing that a terminal would obey, and it says all of `parts`."""
    assert text.strip(), "nothing was said"
    assert len(text) < 2500, f"{len(text)} characters: {text[:500]}"
    for foreign in FOREIGN:
        assert foreign not in text, text
    hidden = [char for char in text if is_hidden(char) and char not in "\n\t"]
    assert not hidden, f"{hidden!r} in {text!r}"
    for part in parts:
        assert re.search(part, text), f"{part!r} is not in: {text}"


def refusal(kind, call, *parts):
    """The message with which `call` refuses, in time and as `kind`, an exception of the door's own."""
    with in_time(), pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is not Exception
    text = str(caught.value)
    check_words(text, *parts)
    return text


def sparse(file, size=10 << 30):
    """A file of 10 GB that takes no room."""
    with file.open("wb") as handle:
        handle.truncate(size)
