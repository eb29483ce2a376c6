"""Geometry from GGUF metadata: one rule an architecture, and a clear refusal for everything else."""

import gguf
import pytest

from fixtures.models.artefacts import ArtefactError
from fixtures.models.geometry import KvLayer, read_geometry, shipped_geometry
from fixtures.models.registry import ensure_registry_model
from fixtures.models.shapes import shipped_shapes
from fixtures.models.twins import TWINS, ensure_twin

GEMMA4_KEYS = {
    "embedding_length": 64,
    "block_count": 4,
    "attention.head_count": 8,
    "attention.head_count_kv": [2, 2, 2, 1],
    "attention.key_length": 512,
    "attention.value_length": 512,
    "attention.key_length_swa": 256,
    "attention.value_length_swa": 256,
    "attention.sliding_window": 512,
    "attention.sliding_window_pattern": [True, True, True, False],
}
QWEN_KEYS = {
    "embedding_length": 64,
    "block_count": 9,
    "nextn_predict_layers": 1,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 512,
    "ssm.state_size": 128,
    "ssm.group_count": 2,
}
PLAIN_KEYS = {"embedding_length": 576, "block_count": 3, "attention.head_count": 9, "attention.head_count_kv": 3}


@pytest.fixture
def write(tmp_path):
    """Writes a GGUF that has nothing but an architecture and keys."""

    def _write(architecture, keys, **changes):
        path = tmp_path / f"{architecture}.gguf"
        writer = gguf.GGUFWriter(None, architecture)
        add = {bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array, str: writer.add_string}
        for key, value in {**keys, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
            if value is not None:
                add[type(value)](f"{architecture}.{key}", value)
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return _write


def layer(kind, kv_heads, k_dim, v_dim=None):
    return KvLayer.model_validate({"kind": kind, "kv_heads": kv_heads, "k_dim": k_dim, "v_dim": v_dim or k_dim})


def test_gemma4(write):
    geometry = read_geometry(write("gemma4", GEMMA4_KEYS))
    assert geometry.layers == (layer("swa", 2, 256),) * 3 + (layer("global", 1, 512),)
    assert geometry.window == 512


def test_gemma4_layers_that_share_own_nothing(write):
    assert len(read_geometry(write("gemma4", GEMMA4_KEYS, attention__shared_kv_layers=2)).layers) == 2


def test_gemma3_counts_every_sixth_layer_as_global(write):
    keys = {**PLAIN_KEYS, "block_count": 13, "attention.key_length": 256, "attention.sliding_window": 512}
    geometry = read_geometry(write("gemma3", keys))
    assert [i for i, each in enumerate(geometry.layers) if each.kind == "global"] == [5, 11]
    assert (geometry.window, geometry.layers[0].k_dim, geometry.layers[0].v_dim) == (512, 256, 64)
    by_period = read_geometry(write("gemma3", keys, attention__sliding_window_pattern=2))
    assert [each.kind for each in by_period.layers[:4]] == ["swa", "global"] * 2


def test_gemma3_without_window_is_all_global(write):
    assert {each.kind for each in read_geometry(write("gemma3", PLAIN_KEYS)).layers} == {"global"}


def test_llama_derives_its_head_dim(write):
    assert read_geometry(write("llama", PLAIN_KEYS)).layers == (layer("global", 3, 64),) * 3


def test_llama_without_kv_heads_has_as_many_as_query_heads(write):
    assert read_geometry(write("llama", PLAIN_KEYS, attention__head_count_kv=None)).layers[0].kv_heads == 9


def test_llama_ignores_a_window_that_the_engine_ignores(write):
    assert {each.kind for each in read_geometry(write("llama", PLAIN_KEYS, attention__sliding_window=4096)).layers} == {"global"}


def test_hybrid(write):
    geometry = read_geometry(write("qwen35", QWEN_KEYS))
    assert geometry.layers == (layer("global", 2, 256),) * 2
    assert geometry.nextn == (layer("global", 2, 256),)
    assert geometry.recurrent_bytes == 6 * 4 * (3 * (512 + 2 * 2 * 128) + 128 * 512)
    assert len(read_geometry(write("qwen35", QWEN_KEYS, full_attention_interval=2)).layers) == 4
    listed = read_geometry(write("qwen35", QWEN_KEYS, attention__recurrent_layers=[True] * 7 + [False] * 2))
    assert len(listed.layers) == 1


def test_drafter_owns_nothing(write):
    assert read_geometry(write("gemma4-assistant", GEMMA4_KEYS)).layers == ()


@pytest.mark.parametrize(
    ("architecture", "keys", "missing"),
    [
        ("gemma4", GEMMA4_KEYS, "attention.head_count"),
        ("gemma4", GEMMA4_KEYS, "attention.sliding_window"),
        ("gemma4", GEMMA4_KEYS, "attention.sliding_window_pattern"),
        ("gemma4", GEMMA4_KEYS, "block_count"),
        ("gemma3", PLAIN_KEYS, "embedding_length"),
        ("llama", PLAIN_KEYS, "attention.head_count"),
        ("qwen35", QWEN_KEYS, "ssm.inner_size"),
    ],
)
def test_missing_key_is_named(write, architecture, keys, missing):
    path = write(architecture, keys, **{missing.replace(".", "__"): None})
    with pytest.raises(ArtefactError) as error:
        read_geometry(path)
    assert str(path) in str(error.value)
    assert f"lacks the metadata key {architecture}.{missing}," in str(error.value)
    assert "Convert it again" in str(error.value)


def test_wrong_kind_of_key_is_named(write):
    with pytest.raises(ArtefactError, match=r"'four' under the metadata key llama.block_count, expected an integer"):
        read_geometry(write("llama", PLAIN_KEYS, block_count="four"))


def test_too_few_heads_are_refused(write):
    with pytest.raises(ArtefactError, match=r"gemma4.attention.head_count_kv, expected 4 integers, one a layer"):
        read_geometry(write("gemma4", GEMMA4_KEYS, attention__head_count_kv=[2, 2]))


def test_unknown_architecture_says_what_to_do(write):
    path = write("mamba2", PLAIN_KEYS)
    with pytest.raises(ArtefactError) as error:
        read_geometry(path)
    for part in (str(path), "'mamba2'", "gemma4", "gguf_geometry.py", "src/models/mamba2.cpp"):
        assert part in str(error.value)


def test_unknown_shipped_geometry_lists_the_known():
    with pytest.raises(ArtefactError, match="gemma4-12b, gemma4-26b-a4b"):
        shipped_geometry("gemma5")


def test_shipped_layers_match_facts():
    """docs/facts.md#geometry and docs/facts.md#small-models."""
    counts = {name: [each.kind for each in shipped_geometry(name).layers] for name in shipped_shapes()}
    assert {name: (kinds.count("swa"), kinds.count("global")) for name, kinds in counts.items()} == {
        "gemma4-e2b": (12, 3),
        "gemma4-e4b": (20, 4),
        "gemma4-12b": (40, 8),
        "gemma4-26b-a4b": (25, 5),
        "gemma4-31b": (50, 10),
        "qwen3.6-27b": (0, 16),
        "gemma3-270m": (15, 3),
        "smollm2-135m": (0, 30),
        "kv-types": (1, 1),
    }
    assert all(shipped_geometry(name).layers[-1].kind == "global" for name in counts)


@pytest.mark.parametrize("twin", sorted(TWINS))
def test_a_twin_reads_back_as_the_model_it_stands_for(twin, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    read = read_geometry(ensure_twin(twin, "geometry").target)
    assert read.model_copy(update={"name": TWINS[twin]}) == shipped_geometry(TWINS[twin])


@pytest.mark.parametrize("key", ["gemma3-270m", "smollm2-135m"])
def test_real_models_are_as_shipped(key):
    path = ensure_registry_model(key)
    assert read_geometry(path).model_copy(update={"name": key}) == shipped_geometry(key)
