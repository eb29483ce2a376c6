"""Which backend computed, read from where the engine says that it put cache and compute buffers."""

import pytest

from fixtures.measure.perplexity_run import backend_of

CPU = """\
0.00.730.245 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
0.00.757.039 I llama_context:        CPU  output buffer size =     0.19 MiB
0.00.757.157 I llama_kv_cache:        CPU KV buffer size =     2.99 MiB
0.00.797.966 I sched_reserve:        CPU compute buffer size =    24.56 MiB
"""
CUDA = """\
0.00.251.982 I llama_kv_cache:      CUDA0 KV buffer size =    68.00 MiB
0.00.253.032 I llama_kv_cache:      CUDA0 KV buffer size =    21.25 MiB
0.00.265.572 I sched_reserve:      CUDA0 compute buffer size =    58.92 MiB
0.00.265.580 I sched_reserve:  CUDA_Host compute buffer size =    10.80 MiB
"""


@pytest.mark.parametrize(
    ("log", "backend"),
    [
        (CPU, "cpu"),
        (CUDA, "cuda"),
        (CUDA + "llama_kv_cache: CPU KV buffer size = 4.25 MiB\n", "cpu+cuda"),
        (CPU + "sched_reserve: CUDA0 compute buffer size = 58.92 MiB\n", "cpu+cuda"),
        (CUDA.replace("CUDA0", "CUDA1"), "cuda"),
        (CUDA.replace("CUDA0", "ROCm0").replace("CUDA_Host", "ROCm_Host"), "rocm"),
        (CUDA.replace("CUDA0", "Vulkan0").replace("CUDA_Host", "Vulkan_Host"), "vulkan"),
        (CPU.replace("CPU KV", "Metal KV"), "metal"),
        ("llama_kv_cache: CUDA_Host KV buffer size = 4.25 MiB\n", "cpu"),
        ("[1]27.5346,[2]20.0844,\nFinal estimate: PPL = 25.1373 +/- 2.13282\n", "unknown"),
        ("sched_reserve: CUDA0 compute buffer size = 58.92 MiB\n", "unknown"),
    ],
)
def test_backend(log, backend):
    assert backend_of(log) == backend
