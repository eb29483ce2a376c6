"""KV truth: the savings table from shipped geometries, and the geometry of a model file of many gigabytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np

from bench import Bench, Reading, milliseconds
from fixtures.catalog.load import load_lanes
from fixtures.models.geometry import read_geometry, shipped_geometry
from fixtures.models.savings import savings_table
from fixtures.models.shapes import Gemma4Shape, shipped_shape, shipped_shapes
from fixtures.models.twins.gemma4 import write_keys

_MODEL = "gemma4-31b"
_VOCABULARY = 262_144
_HIDDEN, _FFN = 5376, 21504
_FILE_BYTES = 19 * 2**30
_TENSORS_A_LAYER = 14


@contextmanager
def _savings() -> Iterator[Reading]:
    lanes = load_lanes()

    def table() -> None:
        shipped_shapes.cache_clear()  # geometries.toml is read, too
        savings_table(lanes)

    yield milliseconds(table)


@contextmanager
def _geometry() -> Iterator[Reading]:
    with tempfile.TemporaryDirectory(prefix="readiness-bench-") as folder:
        path = Path(folder) / "model.gguf"
        _write_sparse(path)

        def read() -> None:
            found = read_geometry(path)
            if found.layers != shipped_geometry(_MODEL).layers:
                raise AssertionError(f"{path} reads back as another geometry")

        yield milliseconds(read)


def _write_sparse(path: Path) -> None:
    """A GGUF with the header of a real 31B, vocabulary and all, whose 19 GiB of tensor data take no disk space."""
    shape = shipped_shape(_MODEL)
    if not isinstance(shape, Gemma4Shape):
        raise TypeError(f"{_MODEL} is no Gemma 4")
    writer = gguf.GGUFWriter(None, shape.architecture)
    write_keys(writer, _MODEL, shape, shape.swa_pattern, shape.shared_kv_layers, _HIDDEN, _FFN)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token {number}" for number in range(_VOCABULARY)])
    writer.add_token_scores([0.0] * _VOCABULARY)
    writer.add_token_types([1] * _VOCABULARY)
    rows = _FILE_BYTES // (shape.layers * _TENSORS_A_LAYER * 4096 * 2)
    for number in range(shape.layers * _TENSORS_A_LAYER):
        writer.add_tensor_info(f"blk.{number}.weight", (rows, 4096), np.dtype(np.float16), rows * 4096 * 2)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + _FILE_BYTES + 4096)


BENCHES = (
    Bench("savings table of all models", 50, "ms", _savings),
    Bench("geometry of a 19 GiB GGUF", 1000, "ms", _geometry),
)
