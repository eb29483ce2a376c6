"""Twins and KV maths against a real llama-server: what was computed is what it allocates, what was scripted is what it says."""

import re
from contextlib import contextmanager

import psutil
import pytest
from support.free_port import free_port

from fixtures.engine.client import LlamaClient
from fixtures.engine.last_words import tail
from fixtures.engine.logs import read_log_file
from fixtures.engine.process import EngineProcess, wait_until
from fixtures.models.geometry import read_geometry
from fixtures.models.kv_size import BPW, KvShape, kv_size
from fixtures.models.registry import ensure_registry_model
from fixtures.models.twins import ensure_twin
from fixtures.models.twins.scripts import shipped_scripts
from llama_build import EngineRequest, build_engine

pytestmark = pytest.mark.runtime

LOAD_TIMEOUT_S = 300  # another test may hold the cores; a load takes a second
RESERVE_MIB = 1500
MOST_MIB = 13 * 1024  # what a test may take of a developer's machine
RECURRENT = re.compile(r"RS buffer size =\s*([\d.]+) MiB")


@pytest.fixture(scope="module")
def program():
    return build_engine(EngineRequest.named("pinned+tbq")).server


@pytest.fixture
def serve(program, tmp_path):
    """Starts the server with these flags, waits until it is loaded, yields a client and the log."""

    @contextmanager
    def _serve(*flags):
        port = free_port()
        log = tmp_path / "server.log"
        # one thread: the twins are tiny, and spinning threads crawl on a busy machine
        common = ["--host", "127.0.0.1", "--port", str(port), "-lv", "4", "-fit", "off", "-fa", "on", "--no-webui", "-t", "1"]
        argv = [str(program), *common, *flags]
        with EngineProcess(argv, {"PATH": "/usr/bin:/bin"}, log) as process, LlamaClient(f"http://127.0.0.1:{port}", 600) as client:
            ready = wait_until(lambda: process.exit_status() is not None or client.health() == 200, LOAD_TIMEOUT_S)
            assert ready, f"not loaded after {LOAD_TIMEOUT_S} s\n{tail(log)}"
            assert process.exit_status() is None, f"{process.describe_end()}\n{tail(log, 30)}"
            yield client, log

    return _serve


# -- allocated = computed

TWINS_OF_GEMMA4 = ("twin35", "twin42", "twin48", "twin30", "twin60")


def flags_of(shape):
    """A command line that asks for `shape`."""
    flags = ["-c", str(shape.n_ctx), "-np", str(shape.n_parallel), "-ub", str(shape.n_ubatch), "-b", str(max(2048, shape.n_ubatch))]
    return [*flags, "-kvu" if shape.unified else "-no-kvu", *(["--swa-full"] if shape.swa_full else [])]


def compare(serve, model, geometry, shape, types, *more):
    """Launch and compare every cache of the log with what was computed: cells, layers, K and V MiB, recurrent state."""
    size = kv_size(geometry, shape, BPW[types[0]], BPW[types[1]])
    needed = size.total_mib + size.recurrent_mib + RESERVE_MIB
    available = psutil.virtual_memory().available / 2**20
    if needed > MOST_MIB:
        pytest.skip(f"left out: needs {needed:.0f} MiB, more than {MOST_MIB}")
    if needed > available:
        pytest.skip(f"needs {needed:.0f} MiB, available are {available:.0f}")
    with serve("-m", str(model), "-ctk", types[0], "-ctv", types[1], "--no-warmup", *flags_of(shape), *more) as (_, log):
        facts = read_log_file(log)
        recurrent = sum(float(found) for found in RECURRENT.findall(log.read_text(encoding="utf-8", errors="replace")))
    allocated = {(c.cells, c.layers, c.k_type, c.v_type, c.k_mib, c.v_mib) for c in facts.kv_caches if c.owns_memory}
    computed = {(g.cells, g.layers, *types, float(f"{g.k_mib:.2f}"), float(f"{g.v_mib:.2f}")) for g in size.groups}
    assert allocated == computed
    assert f"{recurrent:.2f}" == f"{size.recurrent_mib:.2f}"


# all values of context, slots, unified, ubatch, swa-full and type meet each other; with the twins whose turn it is
WAYS = [
    (KvShape(n_ctx=8192, n_parallel=4), ("q8_0", "q4_0"), ("twin35", "twin48")),
    (KvShape(n_ctx=8192, n_parallel=4, unified=True), ("q4_0", "q4_0"), ("twin42", "twin30")),
    (KvShape(n_ctx=8192, n_parallel=4, unified=True, n_ubatch=2048), ("f16", "q8_0"), ("twin48", "twin60")),
    (KvShape(n_ctx=8192, n_ubatch=2048), ("q8_0", "q8_0"), ("twin30", "twin35")),
    (KvShape(n_ctx=8192, swa_full=True), ("q8_0", "q4_0"), ("twin60", "twin42")),
    (KvShape(n_ctx=8192, n_parallel=4, n_ubatch=2048, swa_full=True), ("q4_0", "q4_0"), ("twin35", "twin48")),
    (KvShape(n_ctx=8192, n_parallel=4, unified=True, swa_full=True), ("f16", "f16"), ("twin42", "twin30")),
    (KvShape(n_ctx=131072, n_parallel=4), ("q8_0", "q4_0"), ("twin48", "twin60")),
    (KvShape(n_ctx=131072, n_parallel=4, unified=True, n_ubatch=2048), ("q4_0", "q8_0"), ("twin30", "twin35")),
    (KvShape(n_ctx=131072, n_ubatch=2048, swa_full=True), ("q4_0", "q4_0"), ("twin35", "twin42")),
    (KvShape(n_ctx=131072, n_parallel=4, unified=True, swa_full=True), ("f16", "f16"), ("twin35", "twin42")),
]
ODD_WAYS = [
    (KvShape(n_ctx=769, n_parallel=3), ("f16", "q5_1")),
    (KvShape(n_ctx=8192, n_ubatch=2048, n_parallel=2, unified=True), ("q5_0", "q4_1")),
]


def way(entry):
    """The part of a test id that tells a shape or a pair of types."""
    if isinstance(entry, KvShape):
        return "-".join(f"{key}={value}" for key, value in entry.model_dump(exclude_defaults=True).items())
    return "/".join(entry) if isinstance(entry, tuple) else str(entry)


SAME_TYPES = [("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0")]
# pairwise, with the twin as one more factor: each twin meets each type, context and way's value, but not all combinations of them
LAUNCHES = [
    *(
        (twin, KvShape(n_ctx=(8192, 131072)[(number + place) % 2]), types)
        for number, twin in enumerate(TWINS_OF_GEMMA4)
        for place, types in enumerate(SAME_TYPES)
    ),
    *((twin, shape, types) for shape, types, twins in WAYS for twin in twins),
]


def values(launches):
    return {value for shape, (k, v) in launches for value in (*shape.model_dump().items(), ("k", k), ("v", v))}


def test_every_twin_meets_every_value():
    every = values((shape, types) for shape, types, _ in WAYS)
    for twin in TWINS_OF_GEMMA4:
        assert every - values(launched for name, *launched in LAUNCHES if name == twin) == set(), twin


@pytest.mark.long
@pytest.mark.parametrize(("twin", "shape", "types"), LAUNCHES, ids=way)
def test_twin_allocates_what_was_computed(serve, twin, shape, types):
    target = ensure_twin(twin, "geometry").target
    compare(serve, target, read_geometry(target), shape, types)


@pytest.mark.long
@pytest.mark.parametrize(("shape", "types"), ODD_WAYS, ids=way)
def test_odd_ways_to_launch(serve, shape, types):
    target = ensure_twin("twin42", "geometry").target
    compare(serve, target, read_geometry(target), shape, types)


@pytest.mark.long
@pytest.mark.parametrize("types", [("f16", "f16"), ("q8_0", "q4_0")], ids="/".join)
@pytest.mark.parametrize("shape", [KvShape(n_ctx=8192), KvShape(n_ctx=8192, n_parallel=2)], ids=["one", "two-slots"])
def test_hybrid_allocates_what_was_computed(serve, shape, types):
    target = ensure_twin("twin64", "geometry").target
    compare(serve, target, read_geometry(target), shape, types)


@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "n_ctx", "types"),
    [
        ("gemma3-270m", 2048, ("f16", "f16")),
        ("gemma3-270m", 8192, ("q8_0", "q8_0")),
        ("smollm2-135m", 2048, ("q8_0", "q8_0")),
        ("smollm2-135m", 8192, ("f16", "f16")),
    ],
    ids=way,
)
def test_real_model_allocates_what_was_computed(serve, key, n_ctx, types):
    model = ensure_registry_model(key)
    compare(serve, model, read_geometry(model), KvShape(n_ctx=n_ctx), types)


def test_another_type_than_computed_is_seen(serve):
    """The comparison can fail: computed for q8_0, launched with q4_0."""
    target = ensure_twin("twin35", "geometry").target
    with pytest.raises(AssertionError):
        compare(serve, target, read_geometry(target), KvShape(n_ctx=2048), ("q8_0", "q8_0"), "-ctk", "q4_0")


def test_a_drafter_only_views_its_targets_cache(serve):
    twin = ensure_twin("twin42", "geometry")
    drafting = ("-md", str(twin.drafter), "--spec-type", "draft-mtp", "--spec-draft-n-max", "2")
    compare(serve, twin.target, read_geometry(twin.target), KvShape(n_ctx=4096), ("q8_0", "q4_0"), *drafting)


@pytest.mark.long
def test_the_hybrids_mtp_layer_owns_a_cache_and_rollback_copies_the_state(serve):
    target = ensure_twin("twin64", "scripted").target
    geometry, shape = read_geometry(target), KvShape(n_ctx=4096, n_rs_seq=2)
    trunk = kv_size(geometry, shape, 16, 16)
    drafting = kv_size(geometry.model_copy(update={"layers": geometry.nextn}), shape, 16, 16)
    with serve("-m", str(target), "--spec-type", "draft-mtp", "--spec-draft-n-max", "2", *flags_of(shape)) as (_, log):
        caches = [c.size_mib for c in read_log_file(log).kv_caches if c.owns_memory]
        recurrent = [float(found) for found in RECURRENT.findall(log.read_text(encoding="utf-8", errors="replace"))]
    assert caches == [trunk.total_mib, drafting.total_mib]
    assert recurrent == [pytest.approx(trunk.recurrent_mib, abs=0.01)]


# -- said = scripted


def speculation(twin, draft_tokens, kinds, acceptance=1.0):
    """Flags for a scripted twin with its drafter."""
    paths = ensure_twin(twin, "scripted", acceptance=acceptance, draft_tokens=draft_tokens)
    drafter = ["-md", str(paths.drafter)] if paths.drafter else []
    flags = ["-m", str(paths.target), *drafter, "--spec-type", kinds, "--spec-draft-n-max", str(draft_tokens)]
    return [*flags, "-c", "4096", "-np", "1"]


def ask(trigger):
    return [{"role": "user", "content": f"請回答：{trigger}，謝謝。"}]


def test_scripted_twin_says_its_scripts_while_drafting(serve):
    with serve(*speculation("twin42", 2, "draft-mtp,ngram-mod")) as (client, _):
        for script in shipped_scripts():
            reply = client.chat(ask(script.trigger), temperature=0, max_tokens=400)
            assert (reply.http_status, reply.text, reply.finish) == (200, script.answer, "stop")
            assert reply.timings
            assert reply.timings.draft_n
            assert (reply.timings.draft_n_accepted or 0) / reply.timings.draft_n > 0.9, script.id


@pytest.mark.long
@pytest.mark.parametrize(
    ("twin", "types"), [("twin35", "q8_0"), ("twin48", "q4_0"), ("twin30", "q8_0"), ("twin60", "f16"), ("twin64", "q8_0")]
)
def test_every_scripted_twin_speaks(serve, twin, types):
    with serve(*speculation(twin, 3, "draft-mtp"), "-ctk", types, "-ctv", types) as (client, _):
        accepted = drafted = 0
        for script in shipped_scripts()[1:]:  # all but the long one
            reply = client.chat(ask(script.trigger), temperature=0, max_tokens=400)
            assert (reply.text, reply.finish) == (script.answer, "stop")
            assert reply.timings
            accepted += reply.timings.draft_n_accepted or 0
            drafted += reply.timings.draft_n or 0
    assert accepted / drafted > 0.9


@pytest.mark.long
@pytest.mark.parametrize(("wanted", "draft_tokens"), [(0.6, 2), (0.6, 3), (0.3, 3)])
def test_acceptance_is_what_was_built(serve, wanted, draft_tokens):
    speed = shipped_scripts()[0]
    with serve(*speculation("twin42", draft_tokens, "draft-mtp", wanted)) as (client, log):
        reply = client.chat(ask(speed.trigger), temperature=0, max_tokens=400)
        assert reply.text == speed.answer  # a wrong draft never reaches the text
        assert wait_until(lambda: read_log_file(log).draft_generated > 0, 10)
        facts = read_log_file(log)
    assert reply.timings
    assert (reply.timings.draft_n_accepted, reply.timings.draft_n) == (facts.draft_accepted, facts.draft_generated)
    assert facts.draft_accepted / facts.draft_generated == pytest.approx(wanted, abs=0.1)


def test_another_script_is_another_text(serve):
    """The comparison above can fail: a twin with one character changed does not say the marker."""
    changed = tuple(
        script.model_copy(update={"answer": script.answer.replace("收", "牧")}) if script.id == "zh_marker" else script
        for script in shipped_scripts()
    )
    target = ensure_twin("twin35", "scripted", scripts=changed).target
    with serve("-m", str(target), "-c", "2048", "-np", "1") as (client, _):
        reply = client.chat(ask("驗收標記"), temperature=0, max_tokens=100)
    assert reply.text == "【驗牧標記】繁體中文輸出正常。"
    assert reply.timings
    assert reply.timings.draft_n is None
