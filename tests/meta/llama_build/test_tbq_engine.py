"""The TBQ types in a real server: the seed's sizes, refusals, and the operations that read and write the cache in other ways.

Each operation is compared with the same operation under F16 KV: the mean KL divergence of the next token must stay within the lane's
limit. Another context, as a cache that was mixed up would show it, is much further off: that is checked, too.
"""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from support import child_session
from support.tbq_served import distributions, divergence, served

from fixtures.measure.prompts import corpus_path
from fixtures.models.registry import ensure_registry_model
from fixtures.models.twins import ensure_twin
from llama_build import EngineRequest, build_engine

pytestmark = [pytest.mark.runtime, pytest.mark.long]

LANES = {"f16": ("f16", "f16"), "k3v3": ("tbq3_0", "tbq3_0"), "k3v4": ("tbq3_0", "tbq4_0")}
# twice the lane's mean KL divergence on gemma3-270m, in nats: see test_tbq_quality
LIMITS = {"k3v3": 1.5, "k3v4": 1.3}


# -- sizes

SEED_8K_MIB = [  # the seed's figures at 8192 tokens
    ("twin60", "k3v3", 359.38),
    ("twin60", "k3v4", 424.06),
    ("twin30", "k3v4", 106.02),
    ("twin30", "k3v3", 89.84),
    ("twin42", "k3v3", 32.81),
    ("twin42", "k3v4", 38.72),
]


@pytest.mark.parametrize(("twin", "lane", "total_mib"), SEED_8K_MIB)
def test_a_real_server_allocates_the_seeds_figures(tmp_path, twin, lane, total_mib):
    model = ensure_twin(twin, "geometry").target
    with served(model, 18700, tmp_path / "log", *LANES[lane], "-c", "8192", "-np", "1", "--no-warmup") as server:
        owned = [cache for cache in server.running.log_facts().kv_caches if cache.owns_memory]
    assert {(cache.k_type, cache.v_type) for cache in owned} == {LANES[lane]}
    assert round(sum(cache.size_mib for cache in owned), 2) == pytest.approx(total_mib, abs=0.011)  # two lines of two digits
    if (twin, lane) == ("twin60", "k3v3"):
        assert [cache.size_mib for cache in owned] == [125.0, 234.38]  # 234.375
    if (twin, lane) == ("twin60", "k3v4"):
        assert sum(cache.size_mib for cache in owned) == pytest.approx(424.06, abs=0.005)


# -- refusals


def refusal(model, tmp_path, *flags, env=None):
    """The first error of a server that does not start."""
    server = build_engine(EngineRequest.named("pinned+tbq")).server
    argv = [str(server), "-m", str(model), "--port", "18701", "-c", "512", "-t", "1", "-fit", "off", *flags]
    done = subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **(env or {})}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, (done.returncode, done.stderr[-500:])
    return next(line for line in (done.stdout + done.stderr).splitlines() if " E " in line)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-ctk", "tbq3_0", "-ctv", "tbq3_0"), "K cache type tbq3_0 with block size 128 does not divide n_embd_head_k=64"),
        (("-ctk", "f16", "-ctv", "tbq4_0"), "V cache type tbq4_0 with block size 128 does not divide n_embd_head_v=64"),
        (("-ctk", "tbq3_0", "-fa", "off"), "K cache type tbq3_0 with block size 128 does not divide n_embd_head=64"),
    ],
)
def test_heads_of_64_are_refused_with_one_clear_line(tmp_path, flags, said):
    assert said in refusal(ensure_registry_model("smollm2-135m"), tmp_path, *flags)


@pytest.mark.parametrize("types", [("tbq3_0", "q8_0"), ("q8_0", "tbq4_0")])
def test_without_rotation_tbq_is_refused(tmp_path, types):
    line = refusal(ensure_registry_model("gemma3-270m"), tmp_path, "-ctk", types[0], "-ctv", types[1], env={"LLAMA_ATTN_ROT_DISABLE": "1"})
    assert "needs the attention rotation, which is off (LLAMA_ATTN_ROT_DISABLE is set" in line


def test_the_suite_says_blocked_where_a_lane_does_not_fit_the_model(tmp_path):
    host = child_session.write_host(tmp_path, port=18710)
    good, other = host.read_text().split('id = "other-q8"')
    host.write_text(good + 'id = "other-q8"' + other.replace('lane = "q8"', 'lane = "k3v3"'))
    session = child_session.start(host, tmp_path / "reports", "-m", "kv or coherence")
    assert session.wait() == 75, session.output
    assert session.record("KV-1", "good-q8")["status"] == "measured"
    record = session.record("KV-1", "other-q8")
    assert record["status"] == "blocked"
    assert "lane k3v3 does not fit model" in record["reason"]
    assert "its K type tbq3_0 needs heads of a multiple of 128, and the model has head_dim 64" in record["reason"]
    arms = {(launch["candidate"], launch["arm"]) for launch in session.launches()}
    assert ("good-q8", "production") in arms
    assert not [arm for name, arm in arms if name == "other-q8" and not arm.startswith("micro")], "it was tried all the same"


def test_the_coherence_gate_sees_what_3_bits_do_to_a_small_model(tmp_path):
    """Speed, sizes and drafting are fine, the text is not: 270 million weights with one KV head do not bear this lane."""
    gemma = child_session.Model('target = { kind = "registry", model = "gemma3-270m" }')
    host = child_session.write_host(tmp_path, port=18720, models={"good": gemma, "other": gemma})
    text = host.read_text().replace('api = "chat"', 'api = "completion"').replace('"zh_marker"', '"repeat_line"')
    host.write_text('lane = "k3v3"'.join(text.rsplit('lane = "q8"', 1)))
    session = child_session.start(host, tmp_path / "reports", "-m", "coherence or kv")
    assert session.wait() == 1, session.output
    assert "FAIL: other-q8 COH-1" in session.output
    assert "FAIL: good-q8" not in session.output
    for candidate in ("good-q8", "other-q8"):
        assert session.record("KV-1", candidate)["status"] == "measured"
        assert session.record("COH-1", candidate)["measured"]["text_ok"] is (candidate == "good-q8")


# -- operations


@pytest.fixture(scope="module")
def gemma():
    return ensure_registry_model("gemma3-270m")


@pytest.fixture(scope="module")
def text():
    return corpus_path("readiness-bilingual").read_text(encoding="utf-8")


def pieces(text, count, size):
    step = (len(text) - size) // count
    return [text[start : start + size] for start in range(0, step * count, step)]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def judge(by_lane):
    """`by_lane`: lane -> distributions of the same contexts, in order."""
    base = by_lane["f16"]
    mixed_up = mean(divergence(ours, theirs) for ours, theirs in zip(base, base[1:] + base[:1], strict=True))
    for lane, limit in LIMITS.items():
        off = mean(divergence(ours, theirs) for ours, theirs in zip(base, by_lane[lane], strict=True))
        print(f"{lane}: {off:.3f} nats from F16 KV; another context is {mixed_up:.3f} off")
        assert off <= limit, f"{lane}: {off:.3f} nats from F16 KV after the same operation, limit {limit}"
        assert mixed_up > 2 * limit, f"another context is only {mixed_up:.3f} nats off: this comparison sees nothing"


def test_cache_reuse(gemma, text, tmp_path):
    """A part in the middle of the prompt is cut out: what follows it is shifted, not computed again."""

    def ask(lane):
        found = []
        with served(gemma, 18702, tmp_path / lane, *LANES[lane], "-c", "2048", "-np", "1", "--cache-reuse", "32", "--swa-full") as server:
            for piece in pieces(text, 8, 2400):
                tokens = server.running.client.tokenize(piece)[:500]
                server.complete(tokens)
                answer = server.complete(tokens[:100] + tokens[200:])
                assert answer["timings"]["cache_n"] >= 350, answer["timings"]
                found += distributions(answer)
        return found

    judge({lane: ask(lane) for lane in LANES})


def test_context_shift(gemma, text, tmp_path):
    """The context runs full while digits are written that a grammar dictates, one token each: the same tokens under every lane."""
    digits = "".join(str(7 * n * n % 10) + str(n % 10) for n in range(60))
    grammar = f'root ::= "{digits}"'

    def ask(lane):
        found = []
        flags = ("-c", "512", "-np", "1", "--context-shift", "--swa-full")
        with served(gemma, 18703, tmp_path / lane, *LANES[lane], *flags) as server:
            for piece in pieces(text, 2, 2400):
                tokens = server.running.client.tokenize(piece)[:470]
                answer = server.complete(tokens, n_predict=len(digits), grammar=grammar, cache_prompt=False)
                assert answer["content"] == digits
                assert answer["truncated"]
                found += distributions(answer)[60:]  # the shift comes at the 42nd
        return found

    judge({lane: ask(lane) for lane in LANES})


def test_slot_save_and_restore(gemma, text, tmp_path):
    for lane, types in LANES.items():
        folder = tmp_path / lane
        folder.mkdir()
        flags = ("-c", "2048", "-np", "1", "--slot-save-path", str(folder), "--swa-full")
        with served(gemma, 18704, folder / "log", *types, *flags) as server:
            prompt = text[:2000]
            server.complete(prompt)
            before = server.complete(prompt, n_predict=24)  # of the cache but for the last token, as after a restore
            assert server.slot("save", "one").status_code == 200
            server.complete(text[4000:6000], n_predict=8)
            assert server.slot("restore", "one").status_code == 200
            assert server.slot("save", "two").status_code == 200
            after = server.complete(prompt, n_predict=24)
            assert after["timings"]["cache_n"] > 0
            assert after["content"] == before["content"]
        assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    sizes = [(tmp_path / lane / "one").stat().st_size for lane in ("k3v3", "k3v4", "f16")]
    assert all(small < large for small, large in pairwise(sizes))
    # under other types the file does not fit, and the server says so and goes on
    flags = ("-c", "2048", "-np", "1", "--slot-save-path", str(tmp_path / "k3v3"), "--swa-full")
    with served(gemma, 18704, tmp_path / "log", *LANES["k3v4"], *flags) as server:
        refused = server.slot("restore", "one")
        assert refused.status_code == 400, refused.text
        assert server.running.client.health() == 200


def test_four_slots_with_a_cache_each(gemma, text, tmp_path):
    def ask(lane):
        with served(gemma, 18705, tmp_path / lane, *LANES[lane], "-c", "4096", "-np", "4", "-no-kvu") as server:
            assert "4/4 seqs" in (tmp_path / lane).read_text()
            with ThreadPoolExecutor(4) as pool:
                return list(pool.map(lambda piece: server.next_token(piece, cache_prompt=False), pieces(text, 12, 900)))

    judge({lane: ask(lane) for lane in LANES})
