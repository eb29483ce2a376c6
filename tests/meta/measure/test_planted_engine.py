"""Odd servers, real ones, and one gate at a time: what must stay green, and faults that whole sessions do not show.

The others are rows of tests/meta/planted/faults.toml.
"""

import signal
from pathlib import Path

import pytest
from support.fault_proxy import Rule
from support.launcher import Death, Faults
from support.planted import planted

from fixtures.engine.server import LaunchFailed
from fixtures.measure import coherence, kv, stability
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

H100 = Path(__file__).parents[1] / "data" / "h100"
SMOL, TWIN, GEMMA = "smollm2-135m-q8", "twin42-q8", "gemma3-270m-q8"


def allocated(gates, candidate=SMOL):
    return gates.judge("KV-1", candidate, kv.allocated)


def answered(gates, candidate=SMOL, case="zh_marker"):
    return gates.judge("COH-1", candidate, coherence.answer, case)


def sound(gates, candidate=SMOL):
    return gates.judge("STA-1", candidate, stability.soundness)


def failed(judgement, *says):
    assert judgement.verdict is Verdict.FAIL, judgement.reason
    for part in says:
        assert part in judgement.reason


@pytest.mark.parametrize("candidate", [SMOL, TWIN, "twin42-k3v4"])
def test_a_clean_run_through_the_launcher_is_green(tmp_path, candidate):
    with planted(tmp_path, Faults(rule=Rule("/nothing"))) as gates:
        for judgement in (allocated(gates, candidate), answered(gates, candidate), sound(gates, candidate)):
            assert judgement.verdict is Verdict.PASS, judgement.reason
        assert "the rows of a saved slot agree" in allocated(gates, candidate).reason
        assert not list((tmp_path / "logs").glob("*.slot")), "it holds tokens of prompts"


@pytest.mark.parametrize(("context", "parallel"), [(10000, 1), (10000, 2), (8192, 3), (300, 1), (32767, 1)])
def test_a_context_that_the_server_pads_passes(tmp_path, context, parallel):
    with planted(tmp_path, context=context, parallel=parallel) as gates:
        judgement = allocated(gates, GEMMA)
        assert judgement.verdict is Verdict.PASS, judgement.reason


def test_a_context_above_the_trained_one_still_fails(tmp_path):
    with planted(tmp_path, context=65536) as gates:
        failed(allocated(gates, GEMMA), "the server serves 32768 tokens, asked for 65536")


def test_a_full_window_is_told_in_cells_not_in_bits(tmp_path):
    with planted(tmp_path, Faults(flags={"--swa-full": ""})) as gates:
        judgement = allocated(gates, GEMMA)
        failed(judgement, "the caches have 16384 cells, must be 9216")
        assert "bits" not in judgement.reason


def test_another_type_of_the_same_size_is_named(tmp_path):
    with planted(tmp_path, Faults(flags={"-ctk": "iq4_nl"})) as gates:
        failed(allocated(gates, "gemma3-270m-q4"), "K was asked as q4_0, and the log calls it iq4_nl")


def test_without_a_saved_slot_it_is_said_that_there_is_no_second_witness(tmp_path):
    with planted(tmp_path, Faults(flags={"--slot-save-path": None})) as gates:
        judgement = allocated(gates)
        assert judgement.verdict is Verdict.PASS, judgement.reason
        assert "no second witness" in judgement.reason
        assert "--slot-save-path" in judgement.reason


def test_caches_of_a_dry_run_are_not_counted(tmp_path):
    dry = (
        "I llama_kv_cache:        CPU KV buffer size =     0.00 MiB",
        "I llama_kv_cache: size =   95.62 MiB (  8192 cells,  30 layers,  1/1 seqs), K (q8_0):   47.81 MiB, V (q8_0):   47.81 MiB",
    )
    with planted(tmp_path, Faults(says=dry)) as gates:
        judgement = allocated(gates)
        assert judgement.verdict is Verdict.PASS, judgement.reason


def test_a_fatal_line_of_the_load_fails_the_first_prompt_and_stability(tmp_path):
    line = "E ggml_cuda_init: CUDA error: something went by"
    with planted(tmp_path, Faults(says=(line,))) as gates:
        failed(answered(gates, TWIN), "1 CUDA errors in the log, must be 0", line)
        second = answered(gates, TWIN, "repeat_line")
        assert second.verdict is Verdict.PASS, second.reason
        failed(sound(gates, TWIN), f"1 fatal lines in the log: {line}")


def test_a_fatal_line_between_two_prompts_is_the_next_ones(tmp_path):
    """It comes with a request that is none of either, as those of a speed gate are."""
    late = (("/slots", 2, "E llama_decode: failed to decode, ret = -3"),)
    with planted(tmp_path, Faults(late=late)) as gates:
        first = answered(gates, TWIN)
        assert first.verdict is Verdict.PASS, first.reason
        for _ in range(2):
            gates.server(TWIN, "production").client.slots()
        failed(answered(gates, TWIN, "repeat_line"), "1 fatal lines in the log, must be 0: E llama_decode: failed to decode, ret = -3")
        failed(sound(gates, TWIN), "1 fatal lines in the log")


ABORT = tuple((H100 / "tbq-abort.log").read_text().splitlines())


def test_an_abort_quotes_its_cause_and_the_sizes_before_it_and_is_not_tried_again(tmp_path):
    with planted(tmp_path, Faults(says=ABORT, ends=signal.SIGABRT)) as gates:
        record = gates.evidence("KV-1", TWIN, kv.allocated)
        first, *rest = record.reason.splitlines()
        assert first.startswith("32.81 MiB KV (K tbq3_0, V tbq3_0) were allocated on CUDA0, then: llama-server did not start: killed by")
        assert "SIGABRT): /src/llama.cpp/ggml/src/ggml-backend.cpp:941: pre-allocated tensor (cache_k_l0 (view))" in first
        assert "(18 backtrace frames left out)" in rest
        assert record.measured["allocated_mib"] == 32.81
        assert len(record.raw["caches"]) == 2
        failed(answered(gates, TWIN), "(SET_ROWS)")
        failed(sound(gates, TWIN), "(SET_ROWS)")
        with pytest.raises(LaunchFailed, match=f"not launched, since {TWIN}/production with the same model and KV types did not start"):
            gates.server(TWIN, "plain")
        assert gates.started == [(TWIN, "production")]


def test_another_cause_does_not_keep_the_other_arms_from_being_tried(tmp_path):
    with planted(tmp_path, Faults(only="--spec", says=("x: GGML_ASSERT(drafter) failed",), ends=signal.SIGABRT)) as gates:
        failed(allocated(gates), "GGML_ASSERT(drafter) failed")
        assert gates.server(SMOL, "plain").pid
        assert gates.started == [(SMOL, "production"), (SMOL, "plain")]


def test_a_death_at_the_first_token_names_its_cause(tmp_path):
    says = ("/s/ggml/src/ggml.c:5: GGML_ASSERT(x) failed",)
    with planted(tmp_path, Faults(die=Death(1, "/completion", says=says))) as gates:
        failed(
            allocated(gates), "95.62 MiB KV (K q8_0, V q8_0) were allocated on CPU, then: llama-server died of its first request", says[0]
        )
