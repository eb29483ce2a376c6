"""Full twins: every matrix of its true size and type, the file of the stated size, and the server says what the script says."""

import os
from contextlib import contextmanager

import gguf
import jinja2
import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType
from support.free_port import free_port

from fixtures.catalog.load import load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.last_words import tail
from fixtures.engine.process import EngineProcess, wait_until
from fixtures.measure.prompts import load_speed_set
from fixtures.models.artefacts import check_gguf
from fixtures.models.errors import ArtefactError
from fixtures.models.shapes import shipped_shape
from fixtures.models.twins import TWINS, ensure_twin, store
from fixtures.models.twins.big_file import BigFile
from fixtures.models.twins.blocks import pattern, quantize
from fixtures.models.twins.full import full_assistant, full_target
from fixtures.models.twins.full_shapes import VOCABULARY, full_shapes, least_bytes
from fixtures.models.twins.heads import Voice, plan_misses, scripted_heads
from fixtures.models.twins.scripts import Script, build_chains
from fixtures.models.twins.texts import many_texts
from llama_build import EngineRequest, build_engine

KINDS = ("Q4_K", "Q5_0", "Q6_K", "Q8_0")
SCRIPTS = (
    Script(id="speed", trigger="readiness speed", answer="第一個速度回答是這樣。", others=("另外一個回覆完全不同！",)),
    Script(id="default", trigger="", answer="其餘問題只有此句。"),
)


def voice_of(full, scripts=SCRIPTS, vocabulary=VOCABULARY):
    chains = build_chains(scripts)
    heads = scripted_heads(chains, full.hidden, full.drafter.hidden, plan_misses(chains, 1.0, 2))
    chains.vocabulary.fill(vocabulary)
    return Voice(chains.vocabulary, chains.template, heads)


@pytest.mark.parametrize(
    ("model", "geometry"), [("gemma4-31b", "gemma4-31b"), ("gemma4-26b", "gemma4-26b-a4b"), ("gemma4-e4b", "gemma4-e4b")]
)
def test_the_files_are_as_large_as_the_owners(model, geometry):
    """As `ls -lh` shows them; header and vocabulary are under 8 MiB."""
    stated, full = load_host("dgx", bare=True).models[model], full_shapes()[geometry]
    assert (full.size, full.drafter.size) == (stated.target.size, stated.drafter.size)
    voice, shape = voice_of(full), shipped_shape(geometry)
    target = full_target("target", shape, full, voice).data_bytes
    assert least_bytes(full.size) < target < target + (8 << 20) < least_bytes(full.size) + (2**30 if "." not in full.size else 2**30 // 10)
    assert full_assistant("drafter", shape, full, voice).data_bytes < least_bytes(full.drafter.size), "padded from there"


def test_the_bare_vocabulary_is_that_of_the_others_with_hardly_anything_else():
    """What llama-server does for each token beside the model is measured on it (bench/bench_server.py)."""
    full = full_shapes()["kv-types"]
    voice, shape = voice_of(full), shipped_shape("kv-types")
    assert len(voice.vocabulary) == VOCABULARY
    target, embedding = full_target("target", shape, full, voice).data_bytes, VOCABULARY * full.hidden * 210 // 256  # Q6_K
    assert least_bytes(full.size) < target + (8 << 20) and 2 * embedding < target < 2.2 * embedding


@pytest.mark.parametrize(("size", "least"), [("19G", 18 * 2**30), ("338M", 337 * 2**20), ("5.1G", 5 * 2**30)])
def test_a_size_is_what_ls_rounds_up_to(size, least):
    assert least < least_bytes(size) <= least + 1024


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("std", [0.02, 0.0])
def test_random_blocks_are_valid_numbers_of_the_spread_that_was_asked_for(kind, std):
    kind = GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = np.frombuffer(pattern(kind, std), np.uint8)[: size * 4096].reshape(-1, size)
    values = gguf.quants.dequantize(data, kind)
    assert np.isfinite(values).all()
    assert values.std() == pytest.approx(std, rel=0.1)
    assert abs(values.mean()) < 0.1 * std + 1e-9


@pytest.mark.parametrize("kind", ["Q6_K", "Q8_0"])
def test_given_rows_come_back(kind):
    kind = GGMLQuantizationType[kind]
    rows = np.random.default_rng(1).standard_normal((4, 512)).astype(np.float32)
    back = gguf.quants.dequantize(quantize(rows, kind), kind)
    assert np.abs(back - rows).max() < np.abs(rows).max() / 25


def test_no_word_stands_in_two_texts():
    texts = many_texts(24, 600)
    assert texts == many_texts(24, 600), "the same ones every time"
    words = [text[at : at + 2] for text in (text.replace("，", "").replace("。", "") for text in texts) for at in range(0, len(text), 2)]
    assert len(words) == len(set(words)) == 24 * 600
    with pytest.raises(ValueError, match="there are 28730"):
        many_texts(100, 600)


def test_what_is_written_is_read_back(tmp_path):
    """Tensors lie where the header says, rows that were given lie over the random ones, padding makes the size."""
    file = BigFile("gemma4", scripted=True)
    row = quantize(np.ones((1, 256), np.float32), GGMLQuantizationType.Q8_0)
    file.matrix("a", GGMLQuantizationType.Q8_0, 3, 256, rows={1: row[0]})
    file.to_residual("b", GGMLQuantizationType.Q4_K, 2, 256)
    file.ones("c", 7)
    file.write(tmp_path / "x.gguf", 300_000)
    assert 300_000 <= (tmp_path / "x.gguf").stat().st_size < 300_100
    a, b, c = gguf.GGUFReader(tmp_path / "x.gguf").tensors
    assert [tensor.name for tensor in (a, b, c)] == ["a", "b", "c"]
    back = gguf.quants.dequantize(a.data, GGMLQuantizationType.Q8_0)
    assert back[1].tolist() == pytest.approx([1.0] * 256, abs=1e-3)
    assert 0.01 < back[[0, 2]].std() < 0.03
    assert not gguf.quants.dequantize(b.data, GGMLQuantizationType.Q4_K).any()
    assert b.data.any(), "zero by scale alone: the quants are there"
    assert c.data.tolist() == [1.0] * 7


def test_a_disk_without_room_is_told_before_the_data(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    file = BigFile("gemma4", scripted=True)
    file.matrix("a", GGMLQuantizationType.Q8_0, 1024, 1024)
    with pytest.raises(OSError, match="No space left"):
        file.write(tmp_path / "x.gguf")
    assert (tmp_path / "x.gguf").stat().st_size < 1000


def test_a_twin_without_known_matrices_is_refused():
    with pytest.raises(ArtefactError, match="the matrix sizes of twin35 are not known; there are full twins twin2, twin30, twin42, twin60"):
        ensure_twin("twin35", "full")
    assert TWINS["twin35"] not in full_shapes()


# -- a small one of them, on the real server


@contextmanager
def served(folder):
    flags = ["-c", "2048", "-np", "1", "-t", "1", "-fit", "off", "-fa", "on", "-ctk", "tbq3_0", "-ctv", "tbq4_0", "--jinja", "--no-webui"]
    drafting = ["-md", str(folder / "drafter.gguf"), "--spec-type", "draft-mtp", "--spec-draft-n-max", "2"]
    port, log = free_port(), folder / "server.log"
    program = str(build_engine(EngineRequest.named("pinned+tbq")).server)
    argv = [program, "-m", str(folder / "target.gguf"), "--host", "127.0.0.1", "--port", str(port), *flags, *drafting]
    with EngineProcess(argv, {"PATH": "/usr/bin:/bin"}, log) as process, LlamaClient(f"http://127.0.0.1:{port}", 600) as client:
        assert wait_until(lambda: process.exit_status() is not None or client.health() == 200, 300)
        assert process.exit_status() is None, tail(log, 30)
        yield client


def test_a_speed_prompt_has_a_text_of_its_own_whose_end_repeats_its_beginning():
    """48 numbered prompts: MTP drafts all of them, and ngram-mod the last third of 256 tokens, where the text begins again."""
    chains = build_chains(store._spoken("full"))
    template = jinja2.Template(chains.template)

    def start_of(text):
        return template.render(messages=[{"role": "user", "content": text}], add_generation_prompt=True).rsplit("\n", 1)[-1]

    prompts = [load_speed_set("short-en").prompt(index) for index in range(48)]
    assert len({start_of(prompt) for prompt in prompts}) == 48
    looping = [chain for chain in chains.chains if chain[-1] == chain[1]]
    assert len(looping) == 60
    assert all(130 <= len(chain) - 2 <= 180 for chain in looping), "between half and three quarters of 256 tokens"
    tokens = [token for chain in looping for token in chain[1:-1]]
    assert len(set(tokens)) == len(tokens), "no text has a token of another"


@pytest.mark.runtime
@pytest.mark.parametrize("geometry", ["gemma4-e4b", "gemma4-26b-a4b"])
def test_the_server_says_one_text_for_each_prompt_and_the_drafter_knows_them(tmp_path, geometry):
    """All kinds of tensors - experts, shared caches, per-layer embeddings - with fewer layers and narrower ones."""
    shape = shipped_shape(geometry)
    shape = shape.model_copy(update={"layers": 12, "shared_kv_layers": 6 if shape.shared_kv_layers else 0})
    full = full_shapes()[geometry]
    narrow = {"hidden": 512, "ffn": 512} | ({"experts": 8, "experts_used": 2, "expert_ffn": 96} if full.experts else {"per_layer": 256})
    full = full.model_copy(update=narrow)
    voice = voice_of(full, vocabulary=2000)
    full_target("small", shape, full, voice).write(tmp_path / "target.gguf")
    full_assistant("small drafter", shape, full, voice).write(tmp_path / "drafter.gguf")
    assert check_gguf(tmp_path / "target.gguf").file_type_doubt == ""
    with served(tmp_path) as client:
        answers = [
            client.chat([{"role": "user", "content": text}], max_tokens=64, temperature=0)
            for text in ("readiness speed 0: one", "readiness speed 1: two", "readiness speed 12: three", "hello")
        ]
    first, second = SCRIPTS[0].answers
    assert [answer.text for answer in answers] == [first, second, first, SCRIPTS[1].answer]
    drafted = sum(answer.timings.draft_n for answer in answers)
    assert drafted
    assert sum(answer.timings.draft_n_accepted for answer in answers) >= drafted * 0.8
