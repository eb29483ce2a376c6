"""Writes a DFlash drafter of a scripted twin: of a block it gets the first token right, since its one layer copies the anchor.

Keys and tensors: llama.cpp's src/models/dflash.cpp at commit 0c1e570. A block is [last token, mask, mask, ...]; each mask attends to
the last token alone: their keys differ in a direction that hardly rotates, and what is injected of the target has no key and no value.
"""

import gguf
import numpy as np

from fixtures.models.artefacts import check_gguf
from fixtures.models.twins.scripts import build_chains, shipped_scripts
from fixtures.models.twins.tensors import TensorWriter, finish
from fixtures.models.twins.vocabulary import UNK

HEAD, BLOCK = 64, 4
_TOKEN, _MASK = HEAD - 2, HEAD - 1  # where a row of the embedding says what it is
_STILL, _OTHER = HEAD - 1, HEAD - 2  # directions of a key that RoPE turns least


def write_dflash_drafter(path, target, *, layer=20, hits=True):
    """The drafter of the scripted Gemma 4 twin at `target`, which says the shipped scripts; `layer` is whose input it is given.

    Without `hits` it drafts the token that was there already.
    """
    width = check_gguf(target).hidden_size
    chains = build_chains(shipped_scripts())
    writer = gguf.GGUFWriter(None, "dflash")
    writer.add_name("scripted DFlash drafter")
    _write_keys(writer, width, layer)
    chains.vocabulary.write(writer)
    writer.add_mask_token_id(UNK)
    tensors = TensorWriter(writer, scripted=True)
    meaning = _meanings(len(chains.vocabulary), width)
    tensors.exact("token_embd.weight", meaning)
    pairs = chains.successors if hits else [(token, token) for token, _ in chains.successors]
    tensors.exact("output.weight", _successors(pairs, meaning))
    tensors.exact("fc.weight", np.zeros((width, width), np.float32))
    for norm in ("enc.output_norm", "output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        tensors.constant(f"{norm}.weight", width)
    for norm in ("attn_q_norm", "attn_k_norm"):
        tensors.constant(f"blk.0.{norm}.weight", HEAD, value=2.0)
    tensors.exact("blk.0.attn_q.weight", _picks(HEAD, width, {_STILL: _MASK}))
    tensors.exact("blk.0.attn_k.weight", _picks(HEAD, width, {_STILL: _TOKEN, _OTHER: _MASK}))
    tensors.exact("blk.0.attn_v.weight", _picks(HEAD, width, {place: place for place in range(_TOKEN)}))
    tensors.exact("blk.0.attn_output.weight", _picks(width, HEAD, {HEAD + place: place for place in range(_TOKEN)}))
    tensors.matrix("blk.0.ffn_gate.weight", HEAD, width)
    tensors.matrix("blk.0.ffn_up.weight", HEAD, width)
    tensors.to_residual("blk.0.ffn_down.weight", width, HEAD)
    finish(writer, path)
    return path


def _write_keys(writer, width, layer):
    writer.add_context_length(262144)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HEAD)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(1e6)
    writer.add_uint32("dflash.block_size", BLOCK)
    writer.add_array("dflash.target_layers", [layer])


def _meanings(tokens, width):
    """A direction of its own for each token, and the mask's."""
    rows = np.zeros((tokens, width), np.float32)
    own = np.random.default_rng(0).standard_normal((tokens, _TOKEN))
    rows[:, :_TOKEN] = own / np.linalg.norm(own, axis=1, keepdims=True)
    rows[:, _TOKEN] = 1.0
    rows[UNK] = 0.0
    rows[UNK, _MASK] = 1.0
    return rows


def _successors(pairs, meaning):
    """Of each token the directions after which it comes, where the layer writes them."""
    rows = np.zeros_like(meaning)
    for token, successor in pairs:
        rows[successor, HEAD : HEAD + _TOKEN] += 3.0 * meaning[token, :_TOKEN]
    return rows


def _picks(rows, columns, places):
    """A matrix that takes of its input only what `places` says: row -> column."""
    matrix = np.zeros((rows, columns), np.float32)
    for row, column in places.items():
        matrix[row, column] = 1.0
    return matrix
