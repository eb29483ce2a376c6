"""Tensors against architecture and file type: each kind of file that an engine refuses, or that says another type than it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest

from fixtures.models.artefacts import GgufFacts, check_gguf
from fixtures.models.twins import ensure_twin

_WIDTH = 32
_LLAMA = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
_GEMMA = (*_LLAMA, "attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm")
_BLOCKS = {
    "llama": _LLAMA,
    "qwen3": (*_LLAMA, "attn_q_norm", "attn_k_norm"),
    "gemma3": _GEMMA,
    "gemma4": _GEMMA,
    "granite": _LLAMA,
}


def sound(architecture: str, blocks: int = 3) -> dict[str, np.ndarray]:
    names = ["token_embd", "output_norm", *(f"blk.{i}.{name}" for i in range(blocks) for name in _BLOCKS[architecture])]
    return {f"{name}.weight": np.zeros((_WIDTH, 256), np.float16) for name in names}


def facts(path: Path, architecture: str, tensors: Mapping[str, np.ndarray], file_type: int = 1, **keys: int) -> GgufFacts:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(file_type)
    for name, value in {"embedding_length": _WIDTH, "block_count": 3, "attention.head_count": 4, **keys}.items():
        writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["a", "b"])
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return check_gguf(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("architecture", _BLOCKS)
def test_a_sound_model_has_no_fault(path: Path, architecture: str) -> None:
    found = facts(path, architecture, sound(architecture))
    assert (found.tensor_fault, found.file_type_doubt) == ("", "")


@pytest.mark.parametrize(
    ("twin", "variant"), [("twin42", "scripted"), ("twin30", "geometry"), ("twin64", "scripted"), ("twin2", "geometry")]
)
def test_the_twins_are_sound(twin: str, variant: str) -> None:
    files = ensure_twin(twin, variant)
    for file in filter(None, (files.target, files.drafter)):
        found = check_gguf(file)
        assert (found.tensor_fault, found.file_type_doubt) == ("", ""), file


@pytest.mark.parametrize(
    "name",
    ["v.blk.0.attn_q.weight", "a.blk.0.attn_q.weight", "mm.0.weight", "v.patch_embd.weight", "mm.model.fc.weight", "a.conv1d.1.weight"],
)
@pytest.mark.parametrize("architecture", ["gemma4", "granite"])
def test_another_modality_beside_the_text(path: Path, architecture: str, name: str) -> None:
    fault = facts(path, architecture, sound(architecture) | {name: np.zeros((4, 4), np.float16)}).tensor_fault
    assert fault.startswith(f"{path} has tensors of another modality beside the text model: {name}.")


@pytest.mark.parametrize("index", [3, 4, 30])
def test_a_block_beyond_the_stated_ones(path: Path, index: int) -> None:
    extra = {f"blk.{index}.{name}.weight": np.zeros((4, 4), np.float16) for name in _LLAMA}
    assert "blocks beyond its 3: blk." in facts(path, "llama", sound("llama") | extra).tensor_fault


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("gemma3", "blk.0.ssm_a"),
        ("llama", "blk.1.nextn.eh_proj.weight"),
        ("llama", "mtp.fc.weight"),
        ("gemma4", "blk.2.lora_a.weight"),
        ("qwen3", "blk.0.ffn_gate_exps.weight"),
        ("llama", "vocab_map"),
    ],
)
def test_a_tensor_that_the_architecture_does_not_have(path: Path, architecture: str, name: str) -> None:
    fault = facts(path, architecture, sound(architecture) | {name: np.zeros((4, 4), np.float16)}).tensor_fault
    assert f"tensors that no {architecture} model has: {name}." in fault


@pytest.mark.parametrize(
    "name", ["output.weight", "rope_freqs.weight", "blk.0.attn_q.bias", "blk.1.ffn_down.scale", "blk.2.attn_output.input_scale"]
)
def test_what_a_loader_reads_where_it_is_there_is_no_fault(path: Path, name: str) -> None:
    assert facts(path, "llama", sound("llama") | {name: np.zeros((4, 4), np.float16)}).tensor_fault == ""


@pytest.mark.parametrize(
    ("architecture", "gone"),
    [
        ("llama", "blk.2.attn_q.weight"),
        ("gemma4", "blk.1.post_ffw_norm.weight"),
        ("gemma3", "blk.0.attn_k_norm.weight"),
        ("qwen3", "token_embd.weight"),
        ("llama", "output_norm.weight"),
    ],
)
def test_a_tensor_that_is_not_there(path: Path, architecture: str, gone: str) -> None:
    fault = facts(path, architecture, {name: array for name, array in sound(architecture).items() if name != gone}).tensor_fault
    assert fault.startswith(f"{path} lacks {gone.removesuffix('.weight')}, which a {architecture} model has.")


def test_a_block_count_above_the_blocks_there(path: Path) -> None:
    assert (
        "lacks blk.3.attn_norm, blk.3.attn_q, blk.3.attn_k and 5 more" in facts(path, "llama", sound("llama"), block_count=4).tensor_fault
    )


def test_layers_that_share_kv_need_no_k_of_their_own(path: Path) -> None:
    tensors = {name: array for name, array in sound("gemma4").items() if not name.startswith(("blk.2.attn_k", "blk.2.attn_v"))}
    assert "lacks blk.2.attn_k" in facts(path, "gemma4", tensors).tensor_fault
    assert facts(path, "gemma4", tensors, **{"attention.shared_kv_layers": 1}).tensor_fault == ""


def test_fused_attention_and_experts_are_as_good(path: Path) -> None:
    tensors = {
        name: array for name, array in sound("llama").items() if not name.endswith(("_q.weight", "_k.weight", "_v.weight", "_up.weight"))
    }
    tensors |= {
        f"blk.{i}.{name}.weight": np.zeros((4, 4), np.float16) for i in range(3) for name in ("attn_qkv", "ffn_up_exps", "ffn_gate_inp")
    }
    assert facts(path, "llama", tensors).tensor_fault == ""


def test_a_vocabulary_alone(path: Path) -> None:
    assert "holds no tensors" in facts(path, "llama", {}).tensor_fault


@pytest.mark.parametrize(
    ("file_type", "says", "dtype", "are"),
    [
        (15, "Q4_K_M", np.float16, "F16"),
        (7, "Q8_0", np.float32, "F32"),
        (2, "Q4_0", np.float16, "F16"),
        (1, "F16", np.float32, "F32"),
        (18, "Q6_K", np.float16, "F16"),
        (32, "BF16", np.float16, "F16"),
    ],
)
def test_a_file_type_that_its_tensors_are_not(path: Path, file_type: int, says: str, dtype: type, are: str) -> None:
    tensors = {name: array.astype(dtype) for name, array in sound("llama").items()}
    assert facts(path, "llama", tensors, file_type).file_type_doubt == f"says {says}, its tensors are {are}"


def test_quantised_tensors_under_the_name_of_plain_ones(path: Path) -> None:
    twin = check_gguf(ensure_twin("twin42", "geometry").target)
    assert twin.file_type_doubt == ""
    original = twin.path.read_bytes()
    key = b"general.file_type" + (4).to_bytes(4, "little")
    assert original.count(key) == 1
    at = original.index(key) + len(key)
    path.write_bytes(original[:at] + (1).to_bytes(4, "little") + original[at + 4 :])
    assert check_gguf(path).file_type_doubt == "says F16, its tensors are Q8_0"


def test_wide_embeddings_are_no_lie(path: Path) -> None:
    """Google's Q4_0 files keep F16 embeddings, most bytes of a small model."""
    wide = check_gguf(ensure_twin("twin42", "geometry").target)
    assert wide.file_type == "Q8_0"
    tensors = {"token_embd.weight": np.zeros((4096, 256), np.float32)} | {
        k: v for k, v in sound("llama").items() if k != "token_embd.weight"
    }
    assert facts(path, "llama", tensors).file_type_doubt == ""
