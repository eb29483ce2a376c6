"""What the audit reads: artefacts, engine, units, scripts and the machine, each with planted faults."""

import hashlib
import os
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
from support.audit_subjects import CANDIDATE, HOST, blocked, judged, rows, subject

from fixtures.catalog.model import FileArtefact
from fixtures.engine.host_engine import HostEngine
from fixtures.measure.audit import artefacts as audit
from fixtures.measure.audit.unit import unit_file
from fixtures.models.host_models import HostModels
from fixtures.models.twins import ensure_twin
from fixtures.records.blocked import Blocked
from fixtures.records.verdict import Verdict


@pytest.fixture(scope="module")
def twin():
    return ensure_twin("twin42", "scripted")


class TestArtefacts:
    """AUD-1 on real files of this test's own."""

    @staticmethod
    def looked_at(target, drafter, *, api="chat", **stated):
        entry = {"target": FileArtefact(path=str(target), **stated), "drafter": FileArtefact(path=str(drafter)), "api": api}
        host = HOST.model_copy(update={"models": HOST.models | {"twin42": HOST.models["twin42"].model_copy(update=entry)}})
        found = audit.artefacts(subject(host))
        return found, judged("AUD-1", found, host)

    def test_both_there_and_matching(self, twin):
        found, judgement = self.looked_at(twin.target, twin.drafter, file_type="Q8_0")
        assert judgement.verdict is Verdict.PASS
        assert [(row["item"], row["state"], row["reading"]) for row in rows(found)] == [
            ("target", "clear", "file"),
            ("drafter", "clear", "file"),
        ]

    def test_a_link_is_followed_and_told(self, twin, tmp_path):
        link = tmp_path / "link.gguf"
        link.symlink_to(twin.target)
        found, judgement = self.looked_at(link, twin.drafter)
        assert judgement.verdict is Verdict.PASS
        assert rows(found)[0]["reading"] == "file_linked"
        assert rows(found)[0]["facts"]["resolved"] == str(twin.target.resolve())

    def test_absent_drafter_is_blocked_and_the_target_is_told_all_the_same(self, twin, tmp_path):
        found, judgement = self.looked_at(twin.target, tmp_path / "none.gguf")
        assert judgement.verdict is Verdict.BLOCKED
        assert "none.gguf does not exist" in judgement.reason
        assert [row["state"] for row in rows(found)] == ["clear", "blocked"]

    def test_truncated_target_is_blocked(self, twin, tmp_path):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(twin.target.read_bytes()[:-1])
        _, judgement = self.looked_at(cut, twin.drafter)
        assert judgement.verdict is Verdict.BLOCKED
        assert "truncated" in judgement.reason

    def test_another_file_type_than_stated_fails(self, twin):
        found, judgement = self.looked_at(twin.target, twin.drafter, file_type="Q4_K_M")
        assert judgement.verdict is Verdict.FAIL
        assert "is of type Q8_0, the catalog says Q4_K_M" in judgement.reason
        assert rows(found)[0]["state"] == "broken"

    def test_a_stated_sha256_is_held_against_the_file(self, twin):
        accepted = hashlib.sha256(twin.target.read_bytes()).hexdigest()
        assert self.looked_at(twin.target, twin.drafter, sha256=accepted)[1].verdict is Verdict.PASS
        found, judgement = self.looked_at(twin.target, twin.drafter, sha256="0" * 64)
        assert judgement.verdict is Verdict.FAIL
        assert f"has sha256 {accepted}, the host file says {'0' * 64}" in judgement.reason
        assert rows(found)[0]["state"] == "broken"

    def test_a_file_with_another_sha256_has_no_identity(self, twin):
        entry = {"target": FileArtefact(path=str(twin.target), sha256="0" * 64)}
        host = HOST.model_copy(update={"models": HOST.models | {"twin42": HOST.models["twin42"].model_copy(update=entry)}})
        models = HostModels(host, print)
        with pytest.raises(Blocked, match="name the file that was accepted"):
            models.sha256_of(models.target(CANDIDATE))

    def test_drafter_of_another_model_fails(self, twin):
        _, judgement = self.looked_at(twin.target, ensure_twin("twin42", "geometry").drafter)
        assert judgement.verdict is Verdict.FAIL
        assert "drafts for hidden size 64" in judgement.reason

    def test_target_without_chat_template_fails_where_it_is_asked_over_chat(self, tmp_path):
        bare = tmp_path / "bare.gguf"
        write_gguf(bare)
        candidate = CANDIDATE.model_copy(update={"speculation": CANDIDATE.speculation.model_copy(update={"mtp_block": None})})
        for api, verdict in (("chat", Verdict.FAIL), ("completion", Verdict.PASS)):
            model = HOST.models["twin42"].model_copy(update={"target": FileArtefact(path=str(bare)), "api": api})
            host = HOST.model_copy(update={"models": HOST.models | {"twin42": model}})
            found = judged("AUD-1", audit.artefacts(subject(host, candidate)), host, candidate)
            assert found.verdict is verdict
            assert ("has no chat template" in found.reason) == (verdict is Verdict.FAIL)

    def test_another_size_than_stated_is_told_and_decides_nothing(self, twin):
        found, judgement = self.looked_at(twin.target, twin.drafter, size="19G")
        assert judgement.verdict is Verdict.PASS
        assert rows(found)[0]["state"] == "note"
        assert "the catalog says 19G" in rows(found)[0]["problem"]
        found, _ = self.looked_at(twin.target, twin.drafter, size=f"{round(twin.target.stat().st_size / 2**20)}M")
        assert rows(found)[0]["state"] == "clear"

    def test_vision_and_audio_beside_the_text_fail(self, twin, tmp_path):
        plain = rewritten(twin.target, tmp_path / "plain.gguf", ())
        assert self.looked_at(plain, twin.drafter)[1].verdict is Verdict.PASS
        both = rewritten(twin.target, tmp_path / "target-ollama.gguf", ("v.blk.0.attn_q.weight", "a.blk.0.attn_q.weight"))
        found, judgement = self.looked_at(both, twin.drafter)
        assert judgement.verdict is Verdict.FAIL
        assert "another modality beside the text model: v.blk.0.attn_q.weight, a.blk.0.attn_q.weight" in judgement.reason
        assert rows(found)[0]["state"] == "broken"

    @pytest.mark.parametrize("spelt", ["gemma4_assistant", "gemma4_mtp", "gemma4-mtp"])
    def test_a_drafter_spelt_as_another_engine_spells_it(self, twin, tmp_path, monkeypatch, spelt):
        drafter = rewritten(twin.drafter, tmp_path / "drafter-public.gguf", architecture=spelt)
        engine(monkeypatch, tmp_path / "engine", "gemma3", "gemma4", "gemma4-assistant")
        found, judgement = self.looked_at(twin.target, drafter)
        assert judgement.verdict is Verdict.FAIL
        assert f"has architecture {spelt}, which engine e1 does not know: that engine calls it gemma4-assistant" in judgement.reason
        assert rows(found)[1]["state"] == "broken"

    def test_a_fork_that_spells_it_so_takes_it(self, twin, tmp_path, monkeypatch):
        drafter = rewritten(twin.drafter, tmp_path / "drafter.gguf", architecture="gemma4_assistant")
        engine(monkeypatch, tmp_path / "engine", "gemma3", "gemma4", "gemma4_assistant")
        found, judgement = self.looked_at(twin.target, drafter)
        assert judgement.verdict is Verdict.PASS
        assert rows(found)[1]["state"] == "clear"
        _, judgement = self.looked_at(twin.target, twin.drafter)
        assert "does not know: that engine calls it gemma4_assistant" in judgement.reason

    def test_an_engine_that_does_not_tell_leaves_a_note(self, twin, tmp_path, monkeypatch):
        drafter = rewritten(twin.drafter, tmp_path / "drafter.gguf", architecture="gemma4_assistant")
        engine(monkeypatch, tmp_path / "engine")
        found, judgement = self.looked_at(twin.target, drafter)
        assert judgement.verdict is Verdict.PASS
        assert "which upstream llama.cpp calls gemma4-assistant" in rows(found)[1]["problem"]
        assert [row["state"] for row in rows(found)] == ["clear", "note"]

    def test_a_target_that_the_engine_is_too_old_for(self, twin, tmp_path, monkeypatch):
        engine(monkeypatch, tmp_path / "engine", "gemma3", "llama")
        _, judgement = self.looked_at(twin.target, twin.drafter)
        assert "has architecture gemma4, which engine e1 does not know: name an engine that has it" in judgement.reason

    def test_a_file_type_that_its_tensors_are_not_is_a_note(self, tmp_path):
        lies = tmp_path / "lies.gguf"
        write_gguf(lies, {"blk.0.ffn_up.weight": np.zeros((64, 256), np.float16)}, file_type=15)
        candidate = CANDIDATE.model_copy(update={"speculation": CANDIDATE.speculation.model_copy(update={"mtp_block": None})})
        model = HOST.models["twin42"].model_copy(update={"target": FileArtefact(path=str(lies)), "api": "completion"})
        host = HOST.model_copy(update={"models": HOST.models | {"twin42": model}})
        found = audit.artefacts(subject(host, candidate))
        assert rows(found)[0]["state"] == "note"
        assert "says Q4_K_M, its tensors are F16" in rows(found)[0]["problem"]

    def test_an_mtp_head_inside_is_one_file_that_must_hold_it(self, twin):
        for target, verdict in ((ensure_twin("twin64", "scripted").target, Verdict.PASS), (twin.target, Verdict.FAIL)):
            entry = {"target": FileArtefact(path=str(target)), "drafter": None, "mtp_inside": True}
            host = HOST.model_copy(update={"models": HOST.models | {"twin42": HOST.models["twin42"].model_copy(update=entry)}})
            found = audit.artefacts(subject(host))
            judgement = judged("AUD-1", found, host)
            assert judgement.verdict is verdict
            assert len(rows(found)) == 1
        assert "holds no MTP head (gemma4.nextn_predict_layers), and the catalog says `mtp_inside`" in judgement.reason

    def test_state_of_files_changes_with_them_and_reads_no_content(self, twin, tmp_path):
        copy = tmp_path / "copy.gguf"
        copy.write_bytes(twin.target.read_bytes())
        model = HOST.models["twin42"].model_copy(update={"target": FileArtefact(path=str(copy))})
        host = HOST.model_copy(update={"models": HOST.models | {"twin42": model}})
        before = audit.file_states(subject(host).models, CANDIDATE)
        assert audit.file_states(subject(host).models, CANDIDATE) == before
        os.utime(copy, (1, 1))
        assert audit.file_states(subject(host).models, CANDIDATE) != before


def rewritten(source, path, extra=(), architecture=""):
    """The GGUF again: with more tensors, as some exporters put vision and audio beside the text, or under another architecture's name."""
    reader = gguf.GGUFReader(source)
    old = reader.fields["general.architecture"].contents()
    new = architecture or old
    writer = gguf.GGUFWriter(path, new)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        value = [bytes(field.parts[i]) for i in field.data] if item == gguf.GGUFValueType.STRING else field.contents()
        writer.add_key_value(field.name.replace(f"{old}.", f"{new}.", 1), value, field.types[0], sub_type=item)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name in extra:
        writer.add_tensor(name, np.zeros((32, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def engine(monkeypatch, folder, *architectures):
    """An engine of this test's own, whose library holds the names of these architectures."""
    folder.mkdir()
    (folder / "libllama.so.0").write_bytes(b"\x7fELF\0" + b"\0".join(name.encode() for name in architectures) + b"\0")
    built = SimpleNamespace(folder=folder, manifest=SimpleNamespace(engine_id="e1"))
    monkeypatch.setattr(HostEngine, "find", lambda self: built)


def write_gguf(path, tensors=None, file_type=None):
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in ((writer.add_embedding_length, 64), (writer.add_block_count, 2), (writer.add_head_count, 4)):
        add(value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["a", "b"])
    if file_type is not None:
        writer.add_file_type(file_type)
    for name, array in (tensors or {"token_embd.weight": np.zeros((2, 64), np.float16)}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class TestUnit:
    """AUD-4."""

    def looked_at(self, folder, **units):
        host = HOST.model_copy(update={"units": HOST.units.model_copy(update={"directory": str(folder), **units})})
        found = unit_file(subject(host))
        return found, judged("AUD-4", found, host)

    def test_unit_on_its_port(self, tmp_path):
        (tmp_path / CANDIDATE.unit).write_text("[Service]\nExecStart=/opt/llama-server --port 18095\n")
        found, judgement = self.looked_at(tmp_path)
        assert judgement.verdict is Verdict.PASS
        assert rows(found)[0]["facts"]["port"] == 18095

    @pytest.mark.runtime
    def test_flags_that_the_engine_does_not_take_are_told(self, tmp_path):
        (tmp_path / CANDIDATE.unit).write_text("[Service]\nExecStart=/opt/llama-server --port 18095 --draft-maxx 5 --no-such\n")
        found, judgement = self.looked_at(tmp_path)
        assert judgement.verdict is Verdict.PASS, "it is told here, and judged by DEP-6"
        (row,) = rows(found)
        assert row["state"] == "note"
        assert "gives --draft-maxx, --no-such (" in row["problem"]

    @pytest.mark.parametrize("command", ["/opt/llama-server --port 8080", "/opt/llama-server"])
    def test_unit_on_another_port_fails(self, tmp_path, command):
        (tmp_path / CANDIDATE.unit).write_text(f"[Service]\nExecStart={command}\n")
        found, judgement = self.looked_at(tmp_path)
        assert judgement.verdict is Verdict.FAIL
        assert "the catalog says 18095" in judgement.reason
        assert rows(found)[0]["state"] == "broken"

    @pytest.mark.parametrize("text", [None, "no unit at all", "[Service]\n"])
    def test_absent_or_unusable_unit_is_blocked(self, tmp_path, text):
        if text is not None:
            (tmp_path / CANDIDATE.unit).write_text(text)
        _, judgement = self.looked_at(tmp_path)
        assert judgement.verdict is Verdict.BLOCKED
        assert str(tmp_path / CANDIDATE.unit) in judgement.reason

    def test_missing_key_is_named(self):
        host = HOST.model_copy(update={"units": HOST.units.model_copy(update={"directory": None})})
        assert blocked("AUD-4", unit_file(subject(host)), "missing key `units.directory`")
