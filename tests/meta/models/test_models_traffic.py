"""Bytes a pass: files of the size that 26B-A4B and 31B have, with holes for tensor data."""

import pytest
from support.big_gguf import Q4, Q6, gemma4, moe_26b, size, written

from fixtures.models.gguf_header import read_header
from fixtures.models.kv_layers import KvGeometry, KvLayer
from fixtures.models.traffic import kv_bytes, weight_bytes


@pytest.fixture
def moe(tmp_path):
    """The file of a 26B-A4B."""
    return moe_26b(tmp_path / "26b.gguf")


def test_a_26b_a4b_of_16_gb_reads_2_gb_a_token(moe):
    found = weight_bytes([moe])
    assert found.file > 13.5e9
    assert 2.0e9 < found.step < 2.6e9
    assert found.tied
    assert (found.experts_used, found.experts) == (8, 128)


def test_a_31b_is_read_whole(tmp_path):
    file = written(tmp_path / "31b.gguf", "gemma4", gemma4(5376, 21504, 60, (32, 16, 4)), 60)
    found = weight_bytes([file])
    assert found.step == found.file
    assert 273e9 / found.step == pytest.approx(15.5, abs=1.5)  # docs/facts.md: 13.4-14.7 t/s at 4.85 bits


def test_look_ups_are_not_read_whole(tmp_path):
    tensors = {
        "token_embd.weight": ((512, 1000), Q6),
        "per_layer_token_embd.weight": ((512, 9000), Q6),
        "output.weight": ((512, 1000), Q6),
        "blk.0.attn_q.weight": ((512, 512), Q4),
    }
    found = weight_bytes([written(tmp_path / "e.gguf", "gemma4", tensors, 1)])
    assert found.step == size((512, 1000), Q6) + size((512, 512), Q4)
    assert not found.tied


def test_mtp_layers_inside_are_no_part_of_a_pass(tmp_path):
    tensors = {f"blk.{index}.attn_q.weight": ((512, 512), Q4) for index in range(3)}
    found = weight_bytes([written(tmp_path / "q.gguf", "qwen35", tensors, 3, nextn_predict_layers=1)])
    assert (found.step, found.mtp) == (2 * size((512, 512), Q4), size((512, 512), Q4))


def test_an_assistant_is_read_without_the_vocabulary_that_its_centroids_spare(tmp_path):
    tensors = {"token_embd.weight": ((512, 9000), Q6), "blk.0.attn_q.weight": ((512, 512), Q4)}
    plain = written(tmp_path / "a.gguf", "gemma4-assistant", tensors, 1, nextn_predict_layers=1)
    spared = written(tmp_path / "b.gguf", "gemma4-assistant", tensors | {"masked_embd_centroids.weight": ((512, 8), Q6)}, 1)
    assert weight_bytes([plain]).step == size((512, 9000), Q6) + size((512, 512), Q4)
    assert weight_bytes([spared]).step == size((512, 8), Q6) + size((512, 512), Q4)


def test_all_parts_of_a_split_model_count(tmp_path):
    one = written(tmp_path / "1.gguf", "llama", {"blk.0.attn_q.weight": ((512, 512), Q4)}, 2)
    two = written(tmp_path / "2.gguf", "llama", {"blk.1.attn_q.weight": ((512, 512), Q4)}, 2)
    assert weight_bytes([one, two]).step == 2 * weight_bytes([one]).step


def test_a_window_is_read_no_further_than_it_reaches():
    layers = (KvLayer(kind="swa", kv_heads=1, k_dim=64, v_dim=64), KvLayer(kind="global", kv_heads=1, k_dim=64, v_dim=64))
    geometry = KvGeometry(name="x", architecture="gemma4", layers=layers, window=100, recurrent_bytes=7)
    assert kv_bytes(geometry, 50, 8.0, 4.0) == 2 * 50 * (64 + 32) + 7
    assert kv_bytes(geometry, 1000, 8.0, 4.0) == (100 + 1000) * (64 + 32) + 7


def test_the_holes_are_as_large_as_the_header_says(moe):
    header = read_header(moe)
    assert header.needed_bytes <= header.size_bytes
    assert moe.stat().st_blocks * 512 < 2**20  # nothing of it is written
