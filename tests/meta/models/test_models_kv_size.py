"""The KV maths against every figure of docs/facts.md, and its properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.models.geometry import KvGeometry, KvLayer, shipped_geometry
from fixtures.models.kv_size import BPW, KvShape, headroom_mib, kv_size, largest_context

K3, V4 = 3.125, 4.25  # TBQ3: 50 bytes per 128 weights; TBQ4: 68
MODELS = ("gemma4-e2b", "gemma4-e4b", "gemma4-26b-a4b", "gemma4-31b")


def figure(model, n_ctx, k_bpw, v_bpw):
    """As a report prints it."""
    return f"{kv_size(shipped_geometry(model), KvShape(n_ctx=n_ctx), k_bpw, v_bpw).total_mib:.2f}"


@pytest.mark.parametrize(
    ("model", "v_bpw", "expected"),
    [
        ("gemma4-31b", K3, "359.38"),
        ("gemma4-31b", V4, "424.06"),
        ("gemma4-26b-a4b", K3, "89.84"),
        ("gemma4-26b-a4b", V4, "106.02"),
        ("gemma4-e4b", K3, "32.81"),
        ("gemma4-e4b", V4, "38.72"),
    ],
)
def test_seed_figures_at_8k(model, v_bpw, expected):
    assert figure(model, 8192, K3, v_bpw) == expected


@pytest.mark.parametrize(
    ("k_bpw", "v_bpw", "expected"),
    [
        (K3, K3, ("152.34", "407.81", "558.59", "2234.38")),
        (K3, V4, ("179.77", "481.22", "659.14", "2636.56")),
        (16, 16, ("780.00", "2088.00", "2860.00", "11440.00")),
        (BPW["q8_0"], BPW["q8_0"], ("414.38", "1109.25", "1519.38", "6077.50")),
    ],
)
def test_true_figures_at_128k(k_bpw, v_bpw, expected):
    assert tuple(figure(model, 131072, k_bpw, v_bpw) for model in MODELS) == expected


def test_f16_at_8k():
    assert tuple(figure(model, 8192, 16, 16) for model in MODELS) == ("60.00", "168.00", "460.00", "1840.00")


def test_128k_is_not_16_times_8k():
    """The seed's mistake: windowed layers stop growing at window + ubatch."""
    small, large = (kv_size(shipped_geometry("gemma4-31b"), KvShape(n_ctx=n), K3, K3) for n in (8192, 131072))
    assert {g.kind: g.cells for g in large.groups} == {"global": 131072, "swa": 1536}
    assert large.total_mib < 16 * small.total_mib / 2


def test_cells_are_per_stream():
    """docs/facts.md#kv-cache: E4B, 131072, 4 slots of their own, q8_0/q4_0."""
    size = kv_size(shipped_geometry("gemma4-e4b"), KvShape(n_ctx=131072, n_parallel=4), BPW["q8_0"], BPW["q4_0"])
    windowed = next(g for g in size.groups if g.kind == "swa")
    assert (windowed.cells, windowed.streams, windowed.layers, windowed.total_mib) == (1024, 4, 20, 65.0)


def test_unified_slots_share_one_wider_window():
    geometry = shipped_geometry("gemma4-e4b")
    assert KvShape(n_ctx=8192, n_parallel=4, unified=True).cells_swa(geometry.window) == 2560
    assert KvShape(n_ctx=8192, n_parallel=4, unified=False).cells_swa(geometry.window) == 1024


def test_context_is_padded_before_and_after_it_is_divided():
    """llama_context pads n_ctx to 256 first: 769 tokens in three slots are 1024 / 3, padded to 512; not 769 / 3, padded to 256."""
    assert KvShape(n_ctx=769, n_parallel=3).cells_global == 512


def test_swa_full_makes_windowed_layers_as_long_as_the_others():
    size = kv_size(shipped_geometry("gemma4-31b"), KvShape(n_ctx=131072, swa_full=True), 16, 16)
    assert {g.cells for g in size.groups} == {131072}


def test_hybrid():
    """docs/facts.md#kv-cache: Qwen3.6-27B, 512 MiB f16 at 8K and about 149.6 MiB of recurrent state."""
    geometry = shipped_geometry("qwen3.6-27b")
    size = kv_size(geometry, KvShape(n_ctx=8192), 16, 16)
    assert (size.total_mib, size.recurrent_mib) == (512.0, 149.625)
    assert kv_size(geometry, KvShape(n_ctx=8192, n_parallel=2, n_rs_seq=2), 16, 16).recurrent_mib == 6 * 149.625


def test_bits_per_weight_of_upstream_types():
    assert BPW == {
        "f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5, "q5_1": 6.0, "q5_0": 5.5, "q4_1": 5.0, "q4_0": 4.5, "iq4_nl": 4.5,
    }  # fmt: skip


def test_headroom_counts_everything():
    size = kv_size(shipped_geometry("qwen3.6-27b"), KvShape(n_ctx=8192), 16, 16)
    assert headroom_mib(20_000, 16_000, size, compute_mib=500) == 20_000 - 16_000 - 512 - 149.625 - 500
    assert headroom_mib(600, 0, size) < 0


def test_nothing_fits_into_nothing():
    assert largest_context(shipped_geometry("gemma4-31b"), KvShape(n_ctx=1), 16, 16, budget_mib=1) == 0


calm = settings(max_examples=60)

layers = st.builds(
    KvLayer,
    kind=st.sampled_from(("global", "swa")),
    kv_heads=st.integers(1, 16),
    k_dim=st.sampled_from((64, 128, 256, 512)),
    v_dim=st.sampled_from((64, 128, 256, 512)),
)
geometries = st.builds(
    KvGeometry,
    name=st.just("any"),
    architecture=st.just("any"),
    layers=st.lists(layers, min_size=1, max_size=8).map(tuple),
    window=st.sampled_from((128, 512, 1024, 4096)),
    recurrent_bytes=st.sampled_from((0, 2**20)),
)
shapes = st.builds(
    KvShape,
    n_ctx=st.integers(1, 2**18),
    n_ubatch=st.sampled_from((128, 512, 2048)),
    n_parallel=st.integers(1, 8),
    unified=st.booleans(),
    swa_full=st.booleans(),
)
types = st.sampled_from((K3, V4, 3.5, *BPW.values()))


@calm
@given(geometries, shapes, types, types)
def test_size_is_the_sum_of_its_groups(geometry, shape, k, v):
    size = kv_size(geometry, shape, k, v)
    assert size.total_mib == pytest.approx(sum(g.total_mib for g in size.groups))
    assert size.total_mib == pytest.approx(size.k_mib + size.v_mib)
    assert sum(g.layers for g in size.groups) == len(geometry.layers)


@calm
@given(geometries, geometries, shapes, types, types)
def test_layers_add_up(one, other, shape, k, v):
    other = other.model_copy(update={"window": one.window})
    both = one.model_copy(update={"layers": one.layers + other.layers})
    assert kv_size(both, shape, k, v).total_mib == pytest.approx(
        kv_size(one, shape, k, v).total_mib + kv_size(other, shape, k, v).total_mib
    )


@calm
@given(geometries, shapes, types, types, st.integers(0, 2**16))
def test_never_shrinks_with_context_types_or_ubatch(geometry, shape, k, v, more):
    size = kv_size(geometry, shape, k, v).total_mib
    assert kv_size(geometry, shape.model_copy(update={"n_ctx": shape.n_ctx + more}), k, v).total_mib >= size
    assert kv_size(geometry, shape.model_copy(update={"n_ubatch": shape.n_ubatch + more}), k, v).total_mib >= size
    assert kv_size(geometry, shape.model_copy(update={"swa_full": True}), k, v).total_mib >= size
    assert kv_size(geometry, shape, k + 0.5, v).total_mib > size


@calm
@given(geometries, shapes)
def test_cells_are_padded_and_enough(geometry, shape):
    for group in kv_size(geometry, shape, 16, 16).groups:
        assert group.cells % 256 == 0
        assert group.cells <= shape.cells_global
    assert shape.cells_global * shape.streams >= shape.n_ctx


@calm
@given(geometries, shapes, types, types)
def test_k_and_v_are_symmetric(geometry, shape, k, v):
    swapped = tuple(layer.model_copy(update={"k_dim": layer.v_dim, "v_dim": layer.k_dim}) for layer in geometry.layers)
    mirror = geometry.model_copy(update={"layers": swapped})
    size, other = kv_size(geometry, shape, k, v), kv_size(mirror, shape, v, k)
    assert (size.k_mib, size.v_mib) == (other.v_mib, other.k_mib)


@calm
@given(geometries, shapes, st.sampled_from((K3, V4, BPW["q8_0"], BPW["q4_0"])))
def test_quantised_is_below_f16_by_exactly_its_bits(geometry, shape, bpw):
    assert kv_size(geometry, shape, bpw, bpw).total_mib == pytest.approx(kv_size(geometry, shape, 16, 16).total_mib * bpw / 16)


@calm
@given(geometries, shapes, types, st.floats(1, 20_000))
def test_largest_context_fits_and_the_next_does_not(geometry, shape, bpw, budget):
    step = 256 * shape.streams

    def total(n_ctx):
        size = kv_size(geometry, shape.model_copy(update={"n_ctx": n_ctx}), bpw, bpw)
        return size.total_mib + size.recurrent_mib

    largest = largest_context(geometry, shape, bpw, bpw, budget)
    assert largest % step == 0
    assert largest == 0 or total(largest) <= budget
    assert total(largest + step) > budget or largest + step > 2**24
