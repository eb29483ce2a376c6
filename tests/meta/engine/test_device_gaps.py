"""What is known of KV types that a CUDA build takes and cannot run."""

import pytest

from fixtures.engine.device_gaps import device_gaps
from fixtures.engine.dialect import recorded_dialect
from fixtures.engine.lanes import one_type


@pytest.mark.parametrize(
    ("family", "kv_type", "says"),
    [
        ("upstream", "iq4_nl", "cannot attend to (attention runs on the CPU) with upstream llama.cpp; log of an H100: 86 graph splits"),
        ("tbq-patch", "iq4_nl", "cannot attend to"),
        ("tbq-patch", "tbq4_0", "cannot store (it aborts at the first row)"),
        ("upstream", "q8_0", ""),
        ("upstream", "f16", ""),
        ("thetom", "turbo3", ""),
    ],
)
def test_gaps_of_k_and_v(family, kv_type, says, tmp_path):
    (tmp_path / "libggml-cuda.so.0").write_bytes(b"kernels of other types")
    dialect = recorded_dialect(family)
    found = device_gaps(one_type(kv_type, dialect), dialect, tmp_path)
    assert len(found) == (2 if says else 0)
    assert all(gap.startswith(f"{side} type {kv_type} is one that CUDA") and says in gap for side, gap in zip("KV", found, strict=False))
