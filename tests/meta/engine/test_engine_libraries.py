"""Libraries outside the engine's folder belong to its identity: a fork that needs LD_LIBRARY_PATH may compute with them."""

import hashlib

import pytest
from support.launches import engine_of

from fixtures.catalog.load import load_host
from fixtures.engine.libraries import libraries_elsewhere


@pytest.fixture
def folders(tmp_path):
    engine, elsewhere = tmp_path / "bin", tmp_path / "lib"
    for folder in (engine, elsewhere):
        folder.mkdir()
        (folder / "libggml-base.so.0").write_bytes(folder.name.encode())
    (elsewhere / "libcudart.so.13").write_bytes(b"the machine's, not the engine's")
    (elsewhere / "libllama.so").symlink_to("libggml-base.so.0")
    (engine / "llama-server").write_text("#!/bin/sh\n")
    (engine / "llama-server").chmod(0o755)
    return engine, elsewhere


def test_only_llama_libraries_of_other_folders_count(folders):
    engine, elsewhere = folders
    found = libraries_elsewhere(f"{engine}:{elsewhere}::relative/lib:/nowhere", engine)
    sha256 = hashlib.sha256(b"lib").hexdigest()
    assert found == {str(elsewhere / "libggml-base.so.0"): sha256, str(elsewhere / "libllama.so"): sha256}


def test_one_byte_of_such_a_library_is_another_engine(folders):
    engine, elsewhere = folders

    def identity():
        spec = {"recipe": "path", "path": str(engine), "commit": "0c1e57098bba", "env": {"LD_LIBRARY_PATH": str(elsewhere)}}
        host = load_host("local")
        host = host.model_copy(update={"engine": host.engine.model_validate(spec)})
        return engine_of(host).identity

    before = identity()
    assert identity() == before
    (elsewhere / "libggml-base.so.0").write_bytes(b"lib2")
    assert identity() != before
