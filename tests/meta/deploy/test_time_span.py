"""Spans of time as systemd prints them."""

import pytest

from fixtures.deploy.time_span import seconds_of


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("5s", 5),
        ("100ms", 0.1),
        ("1min 30s", 90),
        ("1h 2min", 3720),
        ("2d", 172800),
        ("250us", 0.00025),
        ("0", None),
        ("infinity", None),
        ("", None),
    ],
)
def test_seconds(span, seconds):
    assert seconds_of(span) == (None if seconds is None else pytest.approx(seconds))
