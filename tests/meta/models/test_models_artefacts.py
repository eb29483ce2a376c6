"""A model file is complete and usable, or one paragraph says why not."""

import os
import struct

import gguf
import numpy as np
import pytest

from fixtures.models.artefacts import ArtefactError, GgufFacts, check_gguf, model_sha256
from fixtures.models.drafting import drafter_mismatch
from fixtures.models.geometry import read_geometry
from fixtures.models.gguf_header import read_header
from fixtures.models.twins import ensure_twin


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return ensure_twin("twin35", "geometry")


@pytest.fixture
def model(twin, tmp_path):
    """A copy that a test may damage."""
    path = tmp_path / "model.gguf"
    path.write_bytes(twin.target.read_bytes())
    return path


def refusal(path):
    """The message with which both readers refuse `path`; one paragraph that names the file."""
    with pytest.raises(ArtefactError) as from_check:
        check_gguf(path)
    with pytest.raises(ArtefactError) as from_geometry:
        read_geometry(path)
    message = str(from_check.value)
    assert str(path) in message
    assert "\n" not in message
    assert str(from_geometry.value) == message
    return message


def write_gguf(path, architecture="llama", *, leave_out="", vocabulary=8, tensor_rows=4):
    """A minimal llama-like GGUF; `leave_out` drops every key that ends so."""
    writer = gguf.GGUFWriter(None, architecture)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token {i}" for i in range(vocabulary)])
    writer.add_token_scores([0.0] * vocabulary)
    writer.add_token_types([1] * vocabulary)
    for key in [key for key in writer.kv_data[0] if leave_out and key.endswith(leave_out)]:
        del writer.kv_data[0][key]
    writer.add_tensor("token_embd.weight", np.zeros((tensor_rows, 64), np.float16))
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_facts_of_a_target(twin):
    facts = check_gguf(twin.target)
    assert facts.model_dump(exclude={"path", "resolved", "parts", "size_bytes", "tensor_bytes", "tensor_count"}) == {
        "architecture": "gemma4",
        "name": "twin35 geometry",
        "file_type": "Q8_0",
        "file_type_doubt": "",
        "tensor_fault": "",
        "hidden_size": 64,
        "block_count": 35,
        "context_length": 262144,
        "nextn_layers": 0,
        "has_chat_template": True,
        "tokenizer": "llama",
        "vocabulary": 261,
        "embedding_length_out": None,
    }
    assert facts.size_bytes == twin.target.stat().st_size
    assert 0 < facts.tensor_bytes < facts.size_bytes
    assert GgufFacts.model_validate_json(facts.model_dump_json()) == facts


def test_agrees_with_the_reference_reader(twin):
    reader = gguf.GGUFReader(twin.target)
    facts = check_gguf(twin.target)
    assert facts.tensor_count == len(reader.tensors)
    assert facts.tensor_bytes == sum(int(t.n_bytes) for t in reader.tensors)


def test_links_are_followed(twin, tmp_path):
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    first.symlink_to(twin.target)
    second.symlink_to(first)
    facts = check_gguf(second)
    assert (facts.path, facts.resolved) == (second, twin.target.resolve())


def test_missing_file(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere.gguf")


def test_file_used_as_folder(model):
    assert "does not exist" in refusal(model / "inside.gguf")


def test_directory(tmp_path):
    assert "is a directory" in refusal(tmp_path)


def test_fifo_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "a named pipe (FIFO)" in refusal(tmp_path / "pipe.gguf")


def test_dangling_link(tmp_path):
    link = tmp_path / "link.gguf"
    link.symlink_to(tmp_path / "gone.gguf")
    assert "dangling" in (message := refusal(link))
    assert "gone.gguf" in message


def test_link_loop(tmp_path):
    link = tmp_path / "a.gguf"
    link.symlink_to(tmp_path / "b.gguf")
    (tmp_path / "b.gguf").symlink_to(link)
    assert "loop" in refusal(link)


def test_no_permission(model):
    model.chmod(0)
    if os.geteuid() == 0:  # root reads everything, so look as somebody else
        for folder in model.parents:
            if folder.owner() == "root" and str(folder).startswith("/tmp/pytest"):  # noqa: S108 - pytest's own folders
                folder.chmod(0o755)
        os.seteuid(65534)
    try:
        message = refusal(model)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    assert "may not be read" in message


def test_empty_file(tmp_path):
    (tmp_path / "empty.gguf").touch()
    assert "is empty" in refusal(tmp_path / "empty.gguf")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"not a model, sorry\n", "is a text file"),
        ("這不是模型，只是一段中文說明文字而已。".encode(), "is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (bytes(range(128, 200)), "80 81 82 83"),
        (b"GGUF", "damaged or truncated"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "little-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "damaged or truncated"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "damaged or truncated"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "general.architecture"),
    ],
)
def test_other_content(tmp_path, content, expected):
    (tmp_path / "model.gguf").write_bytes(content)
    assert expected in refusal(tmp_path / "model.gguf")


def test_one_missing_byte_is_seen(model):
    needed = read_header(model).needed_bytes
    os.truncate(model, needed)
    check_gguf(model)
    os.truncate(model, needed - 1)
    assert f"is truncated: its 398 tensors need at least {needed} bytes, the file has {needed - 1}." in refusal(model)


def test_every_cut_of_the_header_is_one_clear_message(model, tmp_path):
    header = model.read_bytes()[:12_000]
    cut = tmp_path / "cut.gguf"
    for length in [*range(1, 64), *range(64, len(header), 397)]:
        cut.write_bytes(header[:length])
        refusal(cut)


def test_garbled_header_never_escapes(model):
    rng = np.random.default_rng(7)
    original = bytearray(model.read_bytes())
    for _ in range(60):
        garbled = bytearray(original[:20_000])
        for at in rng.integers(4, 12_000, size=3):
            garbled[at] = int(rng.integers(256))
        model.write_bytes(garbled)
        with pytest.raises(ArtefactError):
            check_gguf(model)


@pytest.mark.parametrize("key", ["general.architecture", "embedding_length", "block_count", "tokenizer.ggml.model"])
def test_missing_key_is_named(tmp_path, key):
    path = write_gguf(tmp_path / "model.gguf", leave_out=key)
    with pytest.raises(ArtefactError, match=key):
        check_gguf(path)


def test_file_type_falls_back_to_the_tensors(tmp_path):
    assert check_gguf(write_gguf(tmp_path / "model.gguf")).file_type == "F16"


def test_split_model(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", split_max_tensors=1)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_tokenizer_model("llama")
    for name in ("a", "b", "c"):
        writer.add_tensor(name, np.zeros((4, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("big-*.gguf"))
    facts = check_gguf(parts[0])
    assert (facts.tensor_count, facts.tensor_bytes, facts.parts) == (3, 3 * 1024, tuple(parts))
    assert len(read_geometry(parts[0]).layers) == 2
    whole = model_sha256(facts)
    content = parts[2].read_bytes()
    parts[2].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert model_sha256(facts) != whole, "every part counts, not the named one alone"

    with pytest.raises(ArtefactError, match="later part of a split model"):
        check_gguf(parts[1])
    os.truncate(parts[1], parts[1].stat().st_size - 32)
    with pytest.raises(ArtefactError, match=rf"{parts[1].name} is (truncated|damaged)"):
        check_gguf(parts[0])
    parts[2].unlink()
    parts[1].unlink()
    with pytest.raises(ArtefactError, match="does not exist"):
        check_gguf(parts[0])
    renamed = parts[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(ArtefactError, match="rename the parts"):
        check_gguf(renamed)


def test_drafter_belongs_to_its_target(twin):
    assert twin.drafter is not None
    target, drafter = check_gguf(twin.target), check_gguf(twin.drafter)
    assert drafter_mismatch("mtp", target, drafter) == ""
    assert drafter_mismatch("mtp", target, drafter.model_copy(update={"architecture": "gemma4_assistant"})) == ""

    assert "hidden size 64, the target" in drafter_mismatch("mtp", target.model_copy(update={"hidden_size": 65}), drafter)
    assert "nothing says which target" in drafter_mismatch("mtp", target, drafter.model_copy(update={"embedding_length_out": None}))
    assert "qwen35-assistant" in drafter_mismatch("mtp", target.model_copy(update={"architecture": "qwen35"}), drafter)
    assert "without MTP layers" in drafter_mismatch("mtp", target, target)
    assert drafter_mismatch("mtp", target, target.model_copy(update={"nextn_layers": 1})) == ""


@pytest.mark.parametrize("key", ["any.embedding_length_out", "any.n_embd_backbone", "any.assistant.backbone_hidden_size"])
def test_target_width_has_other_names_in_forks(tmp_path, key):
    writer = gguf.GGUFWriter(None, "any")
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_tokenizer_model("llama")
    writer.add_uint32(key, 2560)
    writer.write_header_to_file(tmp_path / "model.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert check_gguf(tmp_path / "model.gguf").embedding_length_out == 2560


@pytest.mark.runtime
def test_big_vocabulary_in_a_big_file(tmp_path):
    path = write_gguf(tmp_path / "model.gguf", vocabulary=262_144)
    with path.open("ab") as handle:
        handle.truncate(8 * 2**30)  # sparse; whoever touches tensor data would notice
    assert check_gguf(path).vocabulary == 262_144
