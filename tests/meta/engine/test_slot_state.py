"""The saved slot: its header is read, and what is not known is said, never guessed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.engine.slot_state import UnreadState, read_slot


def cache(cells=3, layers=2, k=(8, 34), v=(2, 18), extension=0, streams=1, transposed=0):
    """A cache as llama_kv_cache::state_write has it; `k` and `v` are (ggml type, bytes of a row)."""
    data = struct.pack("<I", streams)
    for _ in range(streams):
        data += struct.pack("<I", cells)
        if cells:
            data += b"".join(struct.pack("<iI", at, 1) + bytes(extension) + struct.pack("<i", 0) for at in range(cells))
            data += struct.pack("<II", transposed, layers)
            data += b"".join(struct.pack("<iQ", *rows) + bytes(cells * rows[1]) for rows in (k, v) for _ in range(layers))
    return data


def slot(*caches, version=3, magic=0x67677371, tokens=5):
    return struct.pack("<III", magic, version, tokens) + bytes(4 * tokens) + b"".join(caches)


def test_a_plain_cache():
    found = read_slot(slot(cache()))
    assert (found.row_bytes("k"), found.row_bytes("v"), found.unread_bytes) == (68, 36, 0)
    assert (found.type_ids("k"), found.type_ids("v")) == ((8,), (2,))


def test_global_and_windowed_layers_are_two_caches():
    found = read_slot(slot(cache(layers=4), cache(cells=2, layers=20, k=(43, 50))))
    assert [len(part.k) for part in found.caches] == [4, 20]
    assert found.type_ids("k") == (8, 43)


def test_cells_with_positions_of_their_own():
    assert read_slot(slot(cache(extension=12))).row_bytes("k") == 68


def test_the_slot_of_a_server_with_several():
    data = struct.pack("<II", 2, 0) + cache()[4:]  # the first slot's stream is empty
    assert read_slot(slot(data)).row_bytes("k") == 68


def test_recurrent_state_behind_it_is_left_unread():
    found = read_slot(slot(cache(), b"\xff" * 100))
    assert (found.row_bytes("k"), found.unread_bytes) == (68, 100)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (slot(cache(), magic=0x6767736E), "begins with 0x6767736e"),
        (slot(cache(), version=4), "has version 4, and only 3 is known here"),
        (slot(cache(), version=2), "has version 2"),
        (slot(), "no K rows"),
        (slot(cache(cells=0)), "no K rows"),
        (slot(cache(transposed=1)), "no K rows of a known layout"),
        (slot(cache())[:-1], "no K rows of a known layout"),
        (b"", "ends early"),
        (slot(cache())[:14], "ends early"),
    ],
)
def test_what_is_not_known_is_said(data, says):
    with pytest.raises(UnreadState, match=says):
        read_slot(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(rest):
    try:
        read_slot(slot() + rest)
    except UnreadState:
        return
