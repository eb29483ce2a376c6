"""Curves of speed requests: how long tokens keep one waiting, speed over depth, acceptance by place; nothing where no record tells."""

from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence

from fixtures.engine.stream import StreamedAnswer, StreamEvent
from fixtures.measure.clocks import client_clock
from fixtures.records.engine import Timings
from fixtures.report.parts.curves import speed_curves


def gate(raw, seq=7):
    record = evidence("TPS-1", raw=raw)
    return SimpleNamespace(record=record, candidate=SimpleNamespace(candidate="twin42-q8"), verdict=SimpleNamespace(seq=seq))


def request(quantiles=(), prompt_n=100, tps=50.0):
    return {
        "predicted_n": 101,
        "predicted_ms": 100_000 / tps,
        "prompt_n": prompt_n,
        "client": {"gap_quantiles_ms": list(quantiles)} if quantiles else None,
    }


def curves(raw, accept=None):
    return {found.anchor: found for found in speed_curves([gate(raw)], [gate(accept or {})], [])}


def test_the_share_of_gaps_rises_to_all_of_them():
    (found,) = curves({"requests": [request(range(21)), request(range(21))]}).values()
    assert found.anchor == "curve-gaps"
    (row,) = found.rows
    heights = [100 - y for _, y in row.points_pct]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (pytest.approx(0.0), pytest.approx(100.0, abs=5))
    assert found.y_ticks[-1] == (100.0, "100")
    assert row.seq == 7
    assert "ms: " in row.told


def test_slower_requests_move_the_curve_to_the_right():
    both = [curves({"requests": [request([gap * times for gap in range(21)]), request(range(41))]}) for times in (1, 2)]
    halfway = [next(x for x, y in found["curve-gaps"].rows[0].points_pct if y <= 50) for found in both]
    assert halfway[0] < halfway[1]


def test_speed_over_depth_needs_requests_of_different_depths():
    same = {"requests": [request(prompt_n=100), request(prompt_n=110)]}
    assert curves(same) == {}
    deep = curves({"requests": [request(prompt_n=8000, tps=30.0), request(prompt_n=100), request(prompt_n=900, tps=45.0)]})
    (row,) = deep["curve-depth"].rows
    assert [x for x, _ in row.points_pct] == sorted(x for x, _ in row.points_pct)
    assert row.points_pct[0][1] < row.points_pct[-1][1], "deeper is slower, hence lower"


def test_acceptance_by_place():
    (row,) = curves({}, {"drafts": 10, "positions": [9, 6, 3]})["curve-places"].rows
    assert [100 - y for _, y in row.points_pct] == pytest.approx([90, 60, 30])


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"requests": []},
        {"requests": [{"client": None}, {"client": {"gap_quantiles_ms": ["x", True]}}]},
        {"requests": [{"predicted_n": 1, "predicted_ms": 0, "prompt_n": 5}]},
        {"drafts": 0, "positions": [1, 2]},
        {"drafts": 5, "positions": "none"},
    ],
)
def test_what_no_record_tells_has_no_curve(raw):
    assert curves(raw, raw) == {}


def test_a_client_clock_keeps_the_quantiles_of_its_gaps():
    parts = tuple(StreamEvent(at_ms=10.0 * n, server_ms=10.0 * n, text="x", reasoning="", ids=1) for n in range(1, 42))
    answer = StreamedAnswer(parts=parts, finish="length", end_ms=420.0, timings=Timings(predicted_n=41, predicted_ms=410.0))
    quantiles = client_clock(answer, 41).gap_quantiles_ms
    assert len(quantiles) == 21
    assert set(quantiles) == {10.0}
