"""What the audit reads of the engine, with the help texts of real ones."""

from pathlib import Path

import pytest
from support.audit_subjects import CANDIDATE, HOST, blocked, judged, rows, subject

from fixtures.catalog.load import load_host
from fixtures.engine.dialect import recorded_dialect
from fixtures.engine.host_engine import HostEngine
from fixtures.measure.audit import engine as audit_engine
from fixtures.records.verdict import Verdict
from llama_build import Manifest


class TestEngine:
    """AUD-3, with the help texts of real engines."""

    @staticmethod
    def asked(family, candidate, host, monkeypatch, folder=Path("/nowhere")):
        dialect = recorded_dialect(family)
        engine = type(
            "Engine",
            (),
            {
                "folder": folder,
                "server": Path("/bin/true"),  # what it maps is part of the identity
                "perplexity": None,
                "manifest": Manifest(
                    recipe="pinned", engine_id="abc", patches={"0001.patch": "5a" * 32}, files={"llama-server": "7f" * 32}
                ),
            },
        )
        monkeypatch.setattr(HostEngine, "find", lambda self: engine)
        monkeypatch.setattr(HostEngine, "identity", "abc:0")  # asked for what its types weigh
        monkeypatch.setattr(HostEngine, "opaque", "")
        monkeypatch.setattr(HostEngine, "dialect", dialect)
        return audit_engine.capabilities(subject(host, candidate))

    def test_engine_with_all_that_is_needed(self, monkeypatch):
        found = self.asked("upstream", CANDIDATE, HOST, monkeypatch)
        assert judged("AUD-3", found).verdict is Verdict.PASS
        assert rows(found)[0]["facts"]["speculation"] == "draft-mtp,ngram-mod"
        made_of = found.raw["manifest"]
        assert (made_of["engine_id"], made_of["patches"], made_of["files"]) == (
            "abc",
            {"0001.patch": "5a" * 32},
            {"llama-server": "7f" * 32},
        )
        assert made_of["version"], "as the engine itself says it"

    @pytest.mark.parametrize(
        ("family", "lane", "library", "says"),
        [
            ("tbq-patch", "k3v3", b"ggml_cuda_cpy q8_0", "K type tbq3_0 is one that CUDA cannot store"),
            ("tbq-patch", "k3v3", b"dequantize block_tbq3_0", ""),  # the patch set with CUDA kernels
            ("tbq-patch", "k3v3", None, ""),  # no CUDA build
            ("tbq-patch", "q8", b"ggml_cuda_cpy q8_0", ""),
            ("upstream", "q8", b"ggml_cuda_cpy q8_0", ""),
        ],
    )
    def test_types_that_the_gpu_cannot_have_fail_on_a_gpu_host_only(self, family, lane, library, says, tmp_path, monkeypatch):
        if library:
            (tmp_path / "libggml-cuda.so").write_bytes(b"\x7fELF" + library)
        with_gpu = HOST.model_copy(update={"launch": HOST.launch.model_copy(update={"gpu_layers": 99})})
        candidate = CANDIDATE.model_copy(update={"lane": lane})
        found = judged("AUD-3", self.asked(family, candidate, with_gpu, monkeypatch, tmp_path))
        assert (found.verdict is Verdict.FAIL) == bool(says), found.reason
        assert says in found.reason
        if says:
            assert "log of an H100: abort at SET_ROWS of cache_k_l0 in buffer CUDA0" in found.reason
        assert judged("AUD-3", self.asked(family, candidate, HOST, monkeypatch, tmp_path)).verdict is Verdict.PASS

    def test_engine_without_the_lanes_types_is_blocked(self, monkeypatch):
        dgx = load_host("dgx", bare=True)
        found = self.asked("upstream", dgx.candidate("26b-k3v4"), dgx, monkeypatch)
        assert blocked("AUD-3", found, "lane k3v4 needs a K type of 3.125 bits per weight")

    def test_engine_without_mtp_is_blocked(self, monkeypatch):
        dgx = load_host("dgx", bare=True)
        found = self.asked("thetom", dgx.candidate("26b-k3v4"), dgx, monkeypatch)
        assert blocked("AUD-3", found, "drafts with MTP, which")

    def test_pure_mode_without_its_variable_is_blocked_by_key(self, monkeypatch):
        dgx = load_host("dgx", bare=True)
        found = self.asked("atomicbot-2026-07", dgx.candidate("26b-k3v3"), dgx, monkeypatch)
        assert blocked("AUD-3", found, "missing key `engine.pure_mode_env`")

    def test_engine_that_is_not_built_is_blocked_and_not_built(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        found = audit_engine.capabilities(subject())
        assert blocked("AUD-3", found, "is not built yet")
        assert audit_engine.engine_id(subject().engine) == "absent"
        assert not (tmp_path / "llama-readiness" / "engines").exists()
