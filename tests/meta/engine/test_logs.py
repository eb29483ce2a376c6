"""The log reader, on lines as real servers print them."""

from fixtures.engine.last_words import tail
from fixtures.engine.logs import read_log

MTP_LOG = """\
0.00.337.904 I llama_kv_cache:        CPU KV buffer size =    68.00 MiB
0.00.349.628 I llama_kv_cache: size =   68.00 MiB (  8192 cells,   4 layers,  1/1 seqs), K (q8_0):   34.00 MiB, V (q8_0):   34.00 MiB
0.00.337.904 I llama_kv_cache:        CPU KV buffer size =    21.25 MiB
0.00.349.628 I llama_kv_cache: size =   21.25 MiB (  1024 cells,  20 layers,  1/1 seqs), K (q8_0):   10.62 MiB, V (q8_0):   10.62 MiB
0.00.400.000 I llama_kv_cache: size =   16.00 MiB (  8192 cells,   1 layers,  1/1 seqs), K (f16):    8.00 MiB, V (f16):    8.00 MiB
0.06.630.014 I slot print_timing: id  0 | task 0 | draft acceptance = 0.32468 (   25 accepted /    77 generated), mean len =  9.33
0.07.630.014 I slot print_timing: id  0 | task 9 | draft acceptance = 1.00000 (    6 accepted /     6 generated), mean len =  3.00
"""


def test_caches_and_their_owner():
    facts = read_log(MTP_LOG)
    assert [(c.cells, c.layers, c.k_type, c.size_mib, c.owns_memory) for c in facts.kv_caches] == [
        (8192, 4, "q8_0", 68.0, True),
        (1024, 20, "q8_0", 21.25, True),
        (8192, 1, "f16", 16.0, False),
    ]
    assert (facts.draft_accepted, facts.draft_generated) == (31, 83)
    assert facts.fatal == ()


def test_buffers_of_all_contexts_each_counted_once():
    """A target, then a drafter that reserves its compute buffer a second time; two devices; the state of a hybrid."""
    text = """\
llama_context:        CPU  output buffer size =     0.00 MiB
llama_memory_recurrent:        CPU RS buffer size =   149.62 MiB
sched_reserve:      CUDA0 compute buffer size =   254.00 MiB
sched_reserve:  CUDA_Host compute buffer size =    12.50 MiB
llama_context:        CPU  output buffer size =     0.00 MiB
sched_reserve:      CUDA0 compute buffer size =    26.54 MiB
sched_reserve:      CUDA0 compute buffer size =    27.00 MiB
"""
    facts = read_log(text)
    assert (facts.compute_mib, facts.recurrent_mib) == (293.5, 149.62)
    assert (read_log(MTP_LOG).compute_mib, read_log(MTP_LOG).recurrent_mib) == (0.0, 0.0)


def test_older_format_without_streams():
    line = (
        "llama_kv_cache_unified: size =  125.00 MiB (  8192 cells,  10 layers,  1 seqs), K (turbo3):   62.50 MiB, V (turbo3):   62.50 MiB"
    )
    (cache,) = read_log("llama_kv_cache_unified:      CUDA0 KV buffer size =   125.00 MiB\n" + line).kv_caches
    assert (cache.k_type, cache.k_mib, cache.owns_memory) == ("turbo3", 62.5, True)


def test_fatal_lines():
    text = (
        "CUDA error: out of memory\n"
        "/src/ggml.c:42: GGML_ASSERT(a != NULL) failed\n"
        "srv  load_model: failed to initialize speculative decoding context\n"
        "all is well: no error here\n"
    )
    facts = read_log(text)
    assert (facts.cuda_errors, facts.ggml_aborts, len(facts.fatal)) == (1, 1, 3)


def test_tail_of_missing_empty_and_long_log(tmp_path):
    log = tmp_path / "x.log"
    assert tail(log) == "(no log)"
    log.write_text("")
    assert tail(log) == "(empty log)"
    log.write_text("\n".join(f"line {n}" for n in range(100_000)))
    assert tail(log, 2) == "line 99998\nline 99999"
