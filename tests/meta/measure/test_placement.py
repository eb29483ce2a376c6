"""KV-5 and KV-6 on the logs of a real GPU, and what every gate of a GPU host makes of a server that runs on the CPU."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.evidence_samples import GREEN, REQUIREMENTS, evidence, judged

from fixtures.catalog.load import load_host
from fixtures.catalog.scope import applies
from fixtures.engine.logs import read_log
from fixtures.measure import placement
from fixtures.records.conditions import GpuReading, ProcessMemory
from fixtures.records.verdict import Verdict

H100 = Path(__file__).parents[1] / "data" / "h100"
LOCAL = load_host("local", bare=True)
GPU_HOST = LOCAL.model_copy(update={"launch": LOCAL.launch.model_copy(update={"gpu_layers": 99})})
CANDIDATE = GPU_HOST.candidate("twin42-q8")
OURS = ProcessMemory(pid=7, name="llama-server", used_mib=702.0, ours=True)
FOREIGN = ProcessMemory(pid=9, name="python", used_mib=3000.0, ours=False)


def gpu(*processes, used_mib=1182.0, integrated=False):
    return GpuReading(index=0, name="NVIDIA H100", used_mib=used_mib, total_mib=81559.0, processes=processes, integrated=integrated)


GOOD_GPU = (gpu(OURS),)


def looked_at(text, monkeypatch, gpus=GOOD_GPU, error=""):
    """Both gates' judgements of a server with that log."""
    monkeypatch.setattr(placement, "read_gpus", lambda: (gpus, error))
    server = SimpleNamespace(pid=7, log_name="x.log", log_facts=lambda: read_log(text))
    subject = SimpleNamespace(server=server, prepared=SimpleNamespace(types=SimpleNamespace(k_type="q8_0", v_type="q4_0")))
    verdicts = []
    for requirement, measurement in (("KV-5", placement.placement), ("KV-6", placement.conversion)):
        found = measurement(subject)
        record = evidence(requirement, measured=found.measured, raw=found.raw, status=found.status, reason=found.reason)
        verdicts.append(judged(record, CANDIDATE, GPU_HOST))
    return verdicts


def recorded(name, monkeypatch, **given):
    return looked_at((H100 / f"{name}.log").read_text(), monkeypatch, **given)


def test_a_good_run_is_green(monkeypatch):
    placed, converted = recorded("q8-good", monkeypatch)
    assert (placed.verdict, converted.verdict) == (Verdict.PASS, Verdict.PASS), (placed.reason, converted.reason)
    assert "number of graph splits is 2 splits" in placed.reason
    assert "the server holds 702 MiB of GPU memory, 121.94 of them model and KV" in placed.reason


def test_attention_on_the_cpu_fails_with_device_and_type(monkeypatch):
    placed, converted = recorded("iq4nl-cpu-attention", monkeypatch)
    assert (placed.verdict, converted.verdict) == (Verdict.FAIL, Verdict.PASS)
    assert "number of graph splits is 86 splits, must be at most 2" in placed.reason
    assert "attention does over a KV type that the GPU cannot attend to (KV iq4_nl/iq4_nl, on CUDA0)" in placed.reason


def test_a_model_on_the_cpu_fails_with_device_and_type(monkeypatch):
    placed, _ = recorded("no-gpu-all-on-cpu", monkeypatch, gpus=(gpu(),))
    assert placed.verdict is Verdict.FAIL
    assert "the engine found no GPU: 0.00.018.415 E ggml_cuda_init: failed to initialize CUDA" in placed.reason
    assert "89.25 of 89.25 MiB KV (q8_0/q8_0) are not on a GPU but on CPU" in placed.reason
    assert "no layer is offloaded; the model is on AMX, CPU_Mapped" in placed.reason


def test_a_converted_cache_is_named_and_advisory(monkeypatch):
    placed, converted = recorded("q8q4-converted-slow", monkeypatch)
    assert (placed.verdict, converted.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert "K and V (q8_0/q4_0) are converted to F16 at each step" in converted.reason
    assert REQUIREMENTS["KV-6"].tier == "advisory"


GOOD = (H100 / "q8-good.log").read_text()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (("offloaded 43/43", "offloaded 20/43"), "20 of 43 layers are offloaded"),
        (("offloaded 5/5", "offloaded 0/5"), "0 of 5 layers are offloaded"),
        (("CUDA0 KV buffer size =    21.25", "CPU KV buffer size =    21.25"), "21.25 of 89.25 MiB KV (q8_0/q8_0) are not on a GPU"),
        (("CUDA0 KV buffer", "CUDA_Host KV buffer"), "are not on a GPU but on CUDA_Host"),
        (("splits = 2", "splits = 44"), "number of graph splits is 44 splits"),
        (("I load_tensors: offloaded 43/43 layers to GPU", "x"), "no layer is offloaded"),
        (("0.00.", "warning: no usable GPU found\n0.00.", 1), "the engine found no GPU"),
    ],
)
def test_other_ways_not_to_be_on_the_gpu(edit, says, monkeypatch):
    placed, _ = looked_at(GOOD.replace(*edit), monkeypatch)
    assert placed.verdict is Verdict.FAIL
    assert says in placed.reason


@pytest.mark.parametrize(
    ("gpus", "verdict", "says"),
    [
        (
            (gpu(OURS.model_copy(update={"used_mib": 40.0})),),
            "FAIL",
            "the server holds 40 MiB of GPU memory as NVML says",
        ),
        ((gpu(used_mib=None),), "INVALID", "NVML does not list the server's process"),
        ((gpu(FOREIGN, integrated=True),), "INVALID", "NVML does not list the server's process"),
        ((gpu(OURS, integrated=True),), "PASS", "the server holds 702 MiB"),
        ((gpu(),), "PASS", "the GPU's processes hold 1182 MiB"),  # a container's NVML lists nobody: the whole device must do
        ((), "INVALID", "NVML shows no GPU, so nothing but the log says where the model is; the driver is lost"),
    ],
)
def test_what_nvml_knows_decides_over_the_log(gpus, verdict, says, monkeypatch):
    given = tuple(reading.model_copy(update={"used_mib": None}) if reading.integrated else reading for reading in gpus)
    placed, _ = looked_at(GOOD, monkeypatch, gpus=given, error="the driver is lost" if not gpus else "")
    assert (placed.verdict, says in placed.reason) == (verdict, True), placed.reason


def test_a_log_without_its_graph_is_invalid(monkeypatch):
    placed, _ = looked_at(GOOD.replace("splits =", "parts ="), monkeypatch)
    assert placed.verdict is Verdict.INVALID


def test_the_host_may_record_other_splits(monkeypatch):
    limit = REQUIREMENTS["KV-5"].default_limit.model_copy(update={"reference": 86.0, "source": "recorded"})
    monkeypatch.setattr(f"{__name__}.CANDIDATE", CANDIDATE.model_copy(update={"limits": {**CANDIDATE.limits, "graph_splits": limit}}))
    placed, _ = recorded("iq4nl-cpu-attention", monkeypatch)
    assert placed.verdict is Verdict.PASS


@pytest.mark.parametrize("requirement", ["KV-5", "KV-6"])
def test_hosts_without_a_gpu_do_not_owe_it(requirement):
    for name in ("local", "twins"):
        host = load_host(name, bare=True)
        assert not any(applies(REQUIREMENTS[requirement], candidate, host) for candidate in host.candidates)
    assert applies(REQUIREMENTS[requirement], CANDIDATE, GPU_HOST)


@pytest.mark.parametrize("requirement", ["KV-1", "COH-1", "STA-1"])
@pytest.mark.parametrize(
    ("gpu_layers", "listed", "verdict"), [(0, False, Verdict.FAIL), (43, False, Verdict.PASS), (0, True, Verdict.PASS)]
)
def test_nothing_passes_on_the_cpu_of_a_gpu_host(requirement, gpu_layers, listed, verdict):
    measured, raw = GREEN[requirement]
    said = {"no_gpu": ["warning: no usable GPU found, --gpu-layers option will be ignored"]}
    record = evidence(requirement, measured=measured | {"gpu_layers": gpu_layers, "nvml_listed": listed}, raw=raw | said)
    found = judged(record, CANDIDATE, GPU_HOST)
    assert found.verdict is verdict, found.reason
    if verdict is Verdict.FAIL:
        assert (
            "runs on the CPU of a host with a GPU: its log offloads no layer, and NVML does not list its process: warning: no"
            in found.reason
        )
    assert judged(record, CANDIDATE, LOCAL).verdict is Verdict.PASS


@pytest.mark.parametrize("requirement", ["KV-1", "COH-1", "STA-1"])
def test_a_record_that_does_not_say_where_it_ran_is_invalid_on_a_gpu_host(requirement):
    measured, raw = GREEN[requirement]
    assert judged(evidence(requirement, measured=measured, raw=raw), CANDIDATE, GPU_HOST).verdict is Verdict.INVALID
