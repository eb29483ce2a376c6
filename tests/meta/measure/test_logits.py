"""Logits files, made by hand: what two of them say of each other is what was put in, and a spoiled one is refused."""

import math

import numpy as np
import pytest

from fixtures.measure.logits import LogitsError, distances, mean_and_error, read_logits

CONTEXT, VOCABULARY, CHUNKS = 8, 5, 2
SCORED = CONTEXT - 1 - CONTEXT // 2
TOKENS = np.arange(CONTEXT * CHUNKS, dtype=np.int32) % VOCABULARY


def written(path, probabilities, tokens=TOKENS):
    """A file as llama-perplexity writes it, of one distribution a scored token."""
    rows, width = [], probabilities.shape[1]
    for row in np.log(probabilities):
        low, scale = row.min(), max((row.max() - row.min()) / 65535, 1e-9)
        steps = np.round((row - low) / scale).astype(np.uint16)
        head = np.array([scale, low], np.float32).view(np.uint16)
        rows.append(np.concatenate([head, steps, np.zeros(width % 2, np.uint16)]))
    path.write_bytes(b"_logits_" + np.array([CONTEXT, width, CHUNKS], np.int32).tobytes() + tokens.tobytes() + np.array(rows).tobytes())
    return read_logits(path)


@pytest.fixture
def flat():
    return np.full((SCORED * CHUNKS, VOCABULARY), 1 / VOCABULARY)


def test_the_same_twice_is_no_distance(tmp_path, flat):
    found = distances(written(tmp_path / "a", flat), written(tmp_path / "b", flat))
    assert np.abs(found.kld).max() < 1e-6
    assert found.same_top_pct == 100
    assert found.worst(3, 0.01) == []


def test_one_token_that_is_answered_otherwise_is_named_where_it_stands(tmp_path, flat):
    base = flat.copy()
    base[4] = [0.96, 0.01, 0.01, 0.01, 0.01]
    lane = flat.copy()
    lane[4] = [0.01, 0.96, 0.01, 0.01, 0.01]
    found = distances(written(tmp_path / "a", base), written(tmp_path / "b", lane))
    assert found.worst(3, 0.01) == [4]
    assert found.kld[4] == pytest.approx(0.95 * math.log(96), rel=1e-3)
    assert (found.base_top[4], found.lane_top[4]) == (0, 1)
    assert found.expected[4] == TOKENS[CONTEXT + CONTEXT // 2 + 1 + 1], "the token behind the second scored one of the second chunk"
    assert found.same_top_pct == pytest.approx(100 * 5 / 6)
    assert found.running == pytest.approx([0.0, found.kld[4] / 6], abs=1e-6)


def test_what_the_base_holds_for_impossible_counts_for_nothing(tmp_path):
    """Sixteen below its most likely one a token is only said to be no likelier: many such would lower the divergence."""
    many = 20_000
    base = np.full((SCORED * CHUNKS, 2 + many), 0.6 * math.exp(-16))
    base[:, :2] = 0.6, 0.4
    lane = np.full_like(base, 0.1 / many)
    lane[:, :2] = 0.54, 0.36
    found = distances(written(tmp_path / "a", base), written(tmp_path / "b", lane))
    assert found.kld == pytest.approx(math.log(1 / 0.9), abs=5e-4), "0.005 less with those that the file cuts off"


def test_a_better_prediction_of_the_text_is_a_negative_log_ratio(tmp_path, flat):
    lane = flat.copy()
    lane[0] = 0.1
    lane[0][TOKENS[CONTEXT // 2 + 1]] = 0.6
    found = distances(written(tmp_path / "a", flat), written(tmp_path / "b", lane))
    assert found.log_ratio[0] == pytest.approx(math.log(0.2 / 0.6), rel=1e-3)
    assert mean_and_error(found.log_ratio)[0] < 0


def test_what_is_no_logits_file_or_of_another_text_is_refused(tmp_path, flat):
    whole = written(tmp_path / "a", flat)
    with pytest.raises(LogitsError, match="different texts"):
        distances(whole, written(tmp_path / "b", flat, tokens=TOKENS[::-1].copy()))
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:-2])
    with pytest.raises(LogitsError, match="cut short: expected 2 chunks of 8 tokens"):
        read_logits(tmp_path / "cut")
    (tmp_path / "other").write_bytes(b"GGUF" * 20)
    with pytest.raises(LogitsError, match="no logits file"):
        read_logits(tmp_path / "other")


def test_the_first_chunks_are_compared_alone_and_more_than_there_are_is_refused(tmp_path, flat):
    lane = flat.copy()
    lane[SCORED] = [0.6, 0.1, 0.1, 0.1, 0.1]  # in the second chunk
    base, other = written(tmp_path / "a", flat), written(tmp_path / "b", lane)
    assert np.abs(distances(base.first(1), other.first(1)).kld).max() < 1e-6
    assert distances(base.first(2), other).worst(3, 0.01) == [SCORED]
    with pytest.raises(LogitsError, match="2 chunks, 3 were asked for"):
        base.first(3)
