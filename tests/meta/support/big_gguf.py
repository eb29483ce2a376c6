"""GGUFs of the true size of big models, whose tensor data are a hole in the file: nothing of it is written."""

import math

import numpy as np
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

Q4, Q6 = GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K
F32 = GGMLQuantizationType.F32


def size(dims, kind):
    block, n_bytes = GGML_QUANT_SIZES[kind]
    return math.prod(dims) // block * n_bytes


def written(path, architecture, tensors, blocks, **numbers):
    """A GGUF of these tensors, name -> (dims, type), whose data are a hole in the file."""
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(blocks)
    for key, value in numbers.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    for name, (dims, kind) in tensors.items():
        writer.add_tensor_info(name, tuple(reversed(dims)), np.float32, size(dims, kind), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + sum(-(-size(*tensor) // 32) * 32 for tensor in tensors.values()) + 64)
    return path


def gemma4(hidden, feed_forward, layers, heads, experts=None):
    """The matrices of a Gemma 4 whose every sixth layer attends globally; the embedding is tied."""
    found = {"token_embd.weight": ((hidden, 262144), Q6), "output_norm.weight": ((hidden,), F32)}
    for index in range(layers):
        wide = (index + 1) % 6 == 0
        dim, kv_heads = (512, heads[2]) if wide else (256, heads[1])
        shapes = {"attn_q": (hidden, heads[0] * dim), "attn_k": (hidden, kv_heads * dim), "attn_output": (heads[0] * dim, hidden)}
        shapes |= {} if wide else {"attn_v": (hidden, kv_heads * dim)}
        shapes |= {"ffn_gate": (hidden, feed_forward), "ffn_up": (hidden, feed_forward), "ffn_down": (feed_forward, hidden)}
        if experts:
            shapes |= {"ffn_gate_up_exps": (hidden, 2 * 704, experts), "ffn_down_exps": (768, hidden, experts)}
        found |= {f"blk.{index}.{name}.weight": (shape, Q4) for name, shape in shapes.items()}
    return found


def moe_26b(path):
    """The file of a 26B-A4B: 128 experts, 8 at a time."""
    tensors = gemma4(2816, 2304, 30, (16, 8, 2), experts=128)
    return written(path, "gemma4", tensors, 30, expert_count=128, expert_used_count=8)
