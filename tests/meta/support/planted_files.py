"""Broken model files for planted faults, as the `[models]` keys of a host file."""

import gguf
import numpy as np

from fixtures.models.twins import ensure_twin
from support.planting import model


def planted_file(kind, folder):
    """(keys, api) of a model whose file is broken in that way."""
    path = folder / f"{kind}.gguf"
    if kind == "cut":
        path.write_bytes(model().read_bytes()[:20_000_000])
    elif kind == "foreign":
        _rewritten(path, tensors={"v.patch_embd.weight": np.zeros((4, 4), np.float32)})
    elif kind == "blocks":
        _rewritten(path, keys={"llama.block_count": 31})
    elif kind == "undrafted":
        twin = ensure_twin("twin42", "scripted")
        return f'target = {{ kind = "file", path = "{twin.target}" }}\ndrafter = {{ kind = "file", path = "{folder}/none.gguf" }}', "chat"
    elif kind == "unaccepted":
        return f'target = {{ kind = "file", path = "{model()}", sha256 = "{"0" * 64}" }}', "completion"
    return f'target = {{ kind = "file", path = "{path}" }}', "completion"


def _rewritten(path, keys=(), tensors=()):
    """The small model with other values of some keys and with more tensors."""
    reader, changed = gguf.GGUFReader(model()), dict(keys)
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(
                name, changed.get(name, field.contents()), kind, field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
            )
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, array in dict(tensors).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
