"""The log reader, on lines as real servers print them."""

import time
from pathlib import Path

import pytest

from fixtures.engine.last_words import blamed, cause, tail
from fixtures.engine.logs import read_log
from fixtures.records.engine import Buffer

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


H100 = Path(__file__).parents[1] / "data" / "h100"


def recorded(name):
    return read_log((H100 / f"{name}.log").read_text())


def test_devices_layers_and_splits_of_a_good_gpu_run():
    facts = recorded("q8-good")
    assert [cache.buffers for cache in facts.owned_caches] == [(Buffer(device="CUDA0", mib=68.0),), (Buffer(device="CUDA0", mib=21.25),)]
    assert [(load.layers_offloaded, load.layers, load.splits) for load in facts.loads] == [(43, 43, (2,)), (5, 5, (2,))]
    assert [buffer.device for buffer in facts.loads[0].buffers] == ["CPU_Mapped", "CUDA0"]
    assert {buffer.device: buffer.mib for buffer in facts.compute} == {"CUDA0": 117.7, "CUDA_Host": 21.59}
    assert (facts.fatal, facts.no_gpu, facts.converted) == ((), (), ())


def test_attention_on_the_cpu_shows_in_the_splits_alone():
    facts = recorded("iq4nl-cpu-attention")
    assert [load.splits for load in facts.loads] == [(86,), (10,)]
    assert all(buffer.on_gpu for cache in facts.owned_caches for buffer in cache.buffers)


def test_a_run_without_a_gpu_says_so():
    facts = recorded("no-gpu-all-on-cpu")
    assert [load.layers_offloaded for load in facts.loads] == [None, None]
    assert len(facts.no_gpu) == 2
    assert (facts.cuda_errors, len(facts.fatal)) == (1, 1)


def test_a_converted_cache_is_told():
    (line,) = recorded("q8q4-converted-slow").converted
    assert "no FlashAttention vector kernel compiled for K/V types q8_0-q4_0" in line


def test_an_abort_counts_once_its_frames_do_not_and_its_sizes_do():
    facts = recorded("tbq-abort")
    assert (facts.ggml_aborts, facts.cuda_errors, len(facts.fatal)) == (1, 0, 1)
    assert [(cache.k_type, cache.size_mib) for cache in facts.owned_caches] == [("tbq3_0", 25.0), ("tbq3_0", 7.81)]


@pytest.mark.parametrize(
    ("device", "on_gpu"),
    [
        *((name, True) for name in ("CUDA0", "CUDA1", "ROCm0", "Vulkan0", "SYCL0", "Metal", "MTL0", "CUDA0_Split", "Metal_Mapped")),
        *((name, False) for name in ("CPU", "CPU_Mapped", "CUDA_Host", "AMX", "CPU_REPACK", "ROCm_Host", "BLAS", "Vulkan_Host")),
    ],
)
def test_which_devices_are_gpus(device, on_gpu):
    assert Buffer(device=device, mib=1).on_gpu is on_gpu


DRY = """\
0.00.100.000 I load_tensors: offloaded 43/43 layers to GPU
0.00.100.000 I load_tensors:        CUDA0 model buffer size =     0.00 MiB
0.00.700.000 I llama_context:        CPU  output buffer size =     0.25 MiB
0.00.727.293 I llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB
0.00.727.299 I llama_kv_cache: size =    3.19 MiB (  2048 cells,   3 layers,  1/1 seqs), K (q8_0):    1.59 MiB, V (q8_0):    1.59 MiB
0.00.727.339 I llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB
0.00.727.340 I llama_kv_cache: size =    7.97 MiB (  1024 cells,  15 layers,  1/1 seqs), K (q8_0):    3.98 MiB, V (q8_0):    3.98 MiB
0.00.727.400 I sched_reserve:      CUDA0 compute buffer size =    90.00 MiB
0.00.727.401 I sched_reserve: graph: nodes = 1869, splits = 30, input objects = 4, input tensors = 13
0.00.827.531 I common_fit_params: successfully fit params to free device memory
"""


def test_a_dry_run_of_fit_owns_nothing():
    """Neither its caches nor its compute buffers count, nor its layers and splits: it tries what does not fit."""
    real = DRY.replace("=     0.00 MiB", "=     5.00 MiB").replace("splits = 30", "splits = 2").replace("90.00", "70.00")
    facts = read_log(DRY + real)
    assert [cache.size_mib for cache in facts.owned_caches] == [3.19, 7.97]
    assert len(facts.kv_caches) == 4
    assert [(load.layers_offloaded, load.splits) for load in facts.loads] == [(43, (2,))]
    assert facts.compute_mib == 70.0


@pytest.mark.parametrize(
    ("line", "cuda", "aborts"),
    [
        ("0.12.3 E CUDA error: out of memory", 1, 0),
        ("E ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected", 1, 0),
        ("0.1 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 900.00 MiB on device 0: cudaMalloc failed: out of memory", 1, 0),
        ("/src/ggml/src/ggml-cuda/ggml-cuda.cu:109: CUDA error", 1, 1),
        ("/src/ggml/src/ggml.c:42: GGML_ASSERT(a != NULL) failed", 0, 1),
        ("/build/ggml/src/ggml-backend.cpp:941: pre-allocated tensor (cache_k_l0 (view)) in a buffer (CUDA0) that cannot run", 0, 1),
        ("ggml/src/ggml-cpu/ops.cpp:100: fatal error", 0, 1),
        ("0.01.2 E llama_decode: failed to decode, ret = -3", 0, 0),
        ("0.01.2 E srv  update_slots: Compute error. i = 0, n_batch = 2048, ret = -3", 0, 0),
        ("llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache", 0, 0),
        ("srv  load_model: failed to initialize speculative decoding context", 0, 0),
        ("turbo: K type turbo3 is not supported on this device, falling back to q8_0", 0, 0),
        ("llama_context: auto-asymmetric: upgrading K from turbo3 to q8_0", 0, 0),
        ("terminate called after throwing an instance of 'std::bad_alloc'", 0, 0),
        ("graph_compute: ggml_backend_sched_graph_compute_async failed with error -1", 0, 0),
    ],
)
def test_a_fatal_line_counts_wherever_it_stands(line, cuda, aborts):
    for text in (line, f"x\n{line}\ny", f"10.11.12.013 [server] I {line}"):
        facts = read_log(text)
        assert (len(facts.fatal), facts.cuda_errors, facts.ggml_aborts) == (1, cuda, aborts), text


@pytest.mark.parametrize(
    "line",
    [
        "0.00.2 I cmn  common_param: system_info: n_threads = 16 | CUDA : ARCHS = 900 | USE_GRAPHS = 1",
        "0.1 W llama_context: n_ctx_seq (8192) < n_ctx_train (262144) -- the full capacity of the model will not be utilized",
        "0.1 I slot print_timing: id 0 | task 0 | prompt eval time = 12.3 ms",
        "0.1 W find_slot: failed to find free space in the KV cache, retrying with smaller batch size",
        "a user's prompt: main.cpp:12: error: expected ';'",
        "falling back to CPU for op SET_ROWS",
    ],
)
def test_what_is_not_fatal(line):
    assert read_log(line).fatal == ()


def test_a_log_of_many_megabytes_is_read_in_seconds():
    filler = "0.06.630.014 D slot update_slots: id  0 | task 0 | n_past = 123, n_tokens = 4, progress = 0.98\n" * 100_000
    began = time.monotonic()
    facts = read_log(filler + MTP_LOG + filler)
    assert len(facts.owned_caches) == 2
    assert time.monotonic() - began < 20  # about 2 s on an idle machine


def written(tmp_path, *lines):
    log = tmp_path / "dead.log"
    log.write_text("\n".join(lines) + "\n")
    return log


FRAMES = [f"/opt/e/libggml-base.so.0(ggml_abort+0x15{n})[0x7f28f6d4c01{n}]" for n in range(9)] * 3


def test_a_death_quotes_the_line_before_its_first_frame(tmp_path):
    log = tmp_path / "dead.log"
    log.write_text((H100 / "tbq-abort.log").read_text())
    assert cause(log).endswith("pre-allocated tensor (cache_k_l0 (view)) in a buffer (CUDA0) that cannot run the operation (SET_ROWS)")
    told = blamed("llama-server did not start: killed by signal 6 (SIGABRT)", log)
    first, *rest = told.splitlines()
    assert first.startswith("llama-server did not start: killed by signal 6 (SIGABRT): /src/llama.cpp/ggml/src/ggml-backend.cpp:941: pre-")
    assert "(18 backtrace frames left out)" in rest
    assert not any("[0x" in line for line in rest)


def test_a_cause_that_is_no_fatal_line_is_still_the_one_before_the_frames(tmp_path):
    assert cause(written(tmp_path, "fine", "something nobody knew", *FRAMES, "last")) == "something nobody knew"


def test_a_cuda_abort_says_which_error(tmp_path):
    lines = (
        "E CUDA error: an illegal memory access was encountered",
        "E   current device: 0, in function ggml_cuda_mul_mat at ggml-cuda.cu:3000",
        "E   cudaGetLastError()",
        "/s/ggml/src/ggml-cuda/ggml-cuda.cu:109: CUDA error",
    )
    assert cause(written(tmp_path, "fine", *lines, *FRAMES)) == " / ".join(line.strip() for line in lines)


def test_what_a_debugger_says_first_is_no_cause(tmp_path):
    lines = ("/s/ggml/src/ggml.c:5: GGML_ASSERT(x) failed", "[New LWP 7]", "Using host libthread_db library", "0x00007f in wait4 ()")
    gdb = ("#0  0x00007f12 in wait4 () from /lib/libc.so.6", "#1  0x00007f13 in ggml_print_backtrace ()", "#2  main (argc=3)")
    assert cause(written(tmp_path, *lines, *gdb, "[Inferior 1 (process 7) detached]")) == lines[0]


def test_an_engine_that_refuses_in_good_order_is_quoted_where_it_says_why(tmp_path):
    """As seen on an H100 with half of the layers on the CPU; what follows are callers that pass the refusal on."""
    why = "0.00.979 E llama_init_from_model: failed to initialize the context: K/V cache types tbq3_0/tbq3_0: device CPU has no attention"
    passed_on = ("E cmn  common_init_: failed to create context with model", "E srv  llama_server: exiting due to model loading error")
    log = written(tmp_path, "I sched_reserve: reserving ...", why, *passed_on)
    assert cause(log) == why
    assert blamed("exit status 1", log).startswith(f"exit status 1: {why}; last lines of ")
    assert cause(written(tmp_path, why, "CUDA error: out of memory")) == "CUDA error: out of memory"


def test_without_a_backtrace_the_last_fatal_line_is_the_cause(tmp_path):
    """GGML_NO_BACKTRACE, or a debugger that is attached already."""
    late = "/s/ggml/src/ggml.c:5: GGML_ASSERT(x) failed"
    assert cause(written(tmp_path, "CUDA error: old", *["x"] * 100, late, "y")) == late
    assert cause(written(tmp_path, "CUDA error: long ago", *["x"] * 100)) == ""
    assert cause(tmp_path / "none.log") == ""
