"""A DFlash drafter and a plain draft model on a real server: what the gates find of them, and what they find where it is broken."""

import pytest
from support.dflash_drafter import HEAD, write_dflash_drafter
from support.launcher import Faults
from support.planted import planted

from fixtures.catalog.load import load_host
from fixtures.catalog.model import FileArtefact
from fixtures.catalog.speculation import Speculation
from fixtures.measure import kv, speed
from fixtures.measure.audit.artefacts import artefacts
from fixtures.measure.audit.engine import capabilities
from fixtures.measure.interleaved import compared
from fixtures.models.registry import ensure_registry_model
from fixtures.models.twins import ensure_twin
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

LOCAL = load_host("local", bare=True)
TWIN, SMOL = "twin42-q8", "smollm2-135m-q8"
NGRAM = {"ngram_mod": True, "ngram_n_match": 8, "ngram_n_min": 4, "ngram_n_max": 16}
PLAN = {"requests": 4, "max_requests": 4, "block_requests": 2, "seconds": 0.0, "max_tokens": 48, "warmup": 1}
LOOSE = {"max_cv_pct": 1000.0, "clock_gap_ms": 10_000.0, "pause_s": 0.0}  # of a machine that others use


def host(name, drafter, **speculation):
    """Host `local`, whose candidate `name` drafts from that file."""
    candidate = LOCAL.candidate(name)
    model = LOCAL.models[candidate.model].model_copy(update={"drafter": FileArtefact(path=str(drafter))})
    changed = candidate.model_copy(
        update={"speculation": Speculation(**speculation), "speed_prompts": "short-en", "compare_with": ("none",)}
    )
    candidates = tuple(changed if each.id == name else each for each in LOCAL.candidates)
    plan = LOCAL.speed.model_copy(update=PLAN | LOOSE)
    return LOCAL.model_copy(update={"models": LOCAL.models | {candidate.model: model}, "candidates": candidates, "speed": plan})


@pytest.fixture(scope="module")
def dflash(tmp_path_factory):
    return write_dflash_drafter(tmp_path_factory.mktemp("dflash") / "drafter.gguf", ensure_twin("twin42", "scripted").target)


def said(judgement, verdict, *words):
    assert judgement.verdict is verdict, judgement.reason
    for word in words:
        assert word in judgement.reason, judgement.reason


def test_a_dflash_drafter_drafts_and_is_judged_by_itself(tmp_path, dflash):
    with planted(tmp_path, host=host(TWIN, dflash, dflash_block=2, **NGRAM)) as gates:
        said(gates.judge("AUD-1", TWIN, artefacts), Verdict.PASS, "2 complete, matching GGUF")
        said(gates.judge("AUD-3", TWIN, capabilities), Verdict.PASS, "DFlash b2 + ngram-mod")
        said(gates.judge("KV-1", TWIN, kv.allocated), Verdict.PASS, f"draft context f16/f16 is {8192 * 2 * HEAD * 2 / 2**20:g}")
        said(gates.judge("TPS-3", TWIN, speed.drafters), Verdict.PASS, "dflash ", "ngram-mod ")
        counts = gates.evidence("TPS-3", TWIN, speed.drafters).measured
        assert counts["dflash_accepted"] == counts["dflash_drafted"] > 0, "its layer copies what the twin's script goes on from"
        assert "--spec-type draft-dflash,ngram-mod" in " ".join(gates.launches[0].argv)


def test_behind_the_first_token_it_guesses(tmp_path, dflash):
    """A block of four: one of three drafted tokens is right, and acceptance says so."""
    with planted(tmp_path, host=host(TWIN, dflash, dflash_block=4)) as gates:
        said(gates.judge("TPS-3", TWIN, speed.drafters), Verdict.PASS)
        found = gates.evidence("TPS-2", TWIN, speed.acceptance).measured
    assert 25 < found["accept_pct"] < 40
    assert found["tokens_per_step"] == pytest.approx(2, abs=0.2)


def test_a_dflash_drafter_that_never_hits_fails_behind_a_live_ngram_mod(tmp_path):
    never = write_dflash_drafter(tmp_path / "never.gguf", ensure_twin("twin42", "scripted").target, hits=False)
    with planted(tmp_path, host=host(TWIN, never, dflash_block=2, **NGRAM)) as gates:
        said(gates.judge("TPS-3", TWIN, speed.drafters), Verdict.FAIL, "dflash drafted", "had 0 accepted")


def test_an_engine_that_leaves_it_out_fails(tmp_path, dflash):
    """As a launcher that rewrites its words: the flag says DFlash, and nothing of it is there."""
    with planted(tmp_path, Faults(flags={"--spec-type": "ngram-mod"}), host=host(TWIN, dflash, dflash_block=2, **NGRAM)) as gates:
        said(gates.judge("TPS-3", TWIN, speed.drafters), Verdict.FAIL, "dflash drafted 0 tokens and had 0 accepted")


def test_a_drafter_of_another_kind_is_found_before_anything_is_launched(tmp_path):
    assistant = ensure_twin("twin42", "scripted").drafter
    with planted(tmp_path, host=host(TWIN, assistant, dflash_block=4)) as gates:
        said(gates.judge("AUD-1", TWIN, artefacts), Verdict.FAIL, "has architecture gemma4-assistant, expected dflash")
        said(gates.judge("TPS-3", TWIN, speed.drafters), Verdict.BLOCKED, f"the drafter of {TWIN} does not belong to its target")
        assert not gates.launches


def test_a_plain_draft_model_drafts_too(tmp_path):
    """SmolLM2 for itself: everything that it drafts is right."""
    with planted(tmp_path, host=host(SMOL, ensure_registry_model("smollm2-135m"), simple_block=4)) as gates:
        said(gates.judge("AUD-1", SMOL, artefacts), Verdict.PASS, "2 complete, matching GGUF")
        said(gates.judge("AUD-3", SMOL, capabilities), Verdict.PASS, "a draft model b4")
        said(gates.judge("KV-1", SMOL, kv.allocated), Verdict.PASS, "draft context f16/f16 is 180")
        said(gates.judge("TPS-3", SMOL, speed.drafters), Verdict.PASS, "simple ")
        counts = gates.evidence("TPS-3", SMOL, speed.drafters).measured
        assert counts["simple_accepted"] > 0.5 * counts["simple_drafted"]


def test_a_draft_model_of_other_tokens_is_refused(tmp_path):
    with planted(tmp_path, host=host(SMOL, ensure_registry_model("gemma3-270m"), simple_block=4)) as gates:
        said(gates.judge("AUD-1", SMOL, artefacts), Verdict.FAIL, "name a draft model with the vocabulary of this one")
        said(gates.judge("TPS-3", SMOL, speed.drafters), Verdict.BLOCKED, f"the drafter of {SMOL} does not belong to its target")


@pytest.mark.long
def test_it_takes_turns_with_nothing_drafting(tmp_path, dflash):
    with planted(tmp_path, host=host(TWIN, dflash, dflash_block=2)) as gates:
        record = gates.evidence("TPS-6", TWIN, compared)
    drafted = {block["side"]: [bool(request["draft_n"]) for request in block["requests"]] for block in record.raw["blocks"]}
    assert drafted == {"itself": [True, True], "none": [False, False]}
