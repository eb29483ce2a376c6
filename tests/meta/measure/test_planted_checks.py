"""Each kind of check on a real server: an owner's own prompt, the right answer, and answers that a proxy breaks, judged as COH-1.

The prompts are files in a folder that the overlay names (`coherence.texts`): nothing here is known to any code of the suite.
"""

from types import SimpleNamespace

import pytest
from support.evidence_samples import evidence, judged
from support.fault_proxy import FaultProxy, Rule
from support.launches import quiet
from support.small_server import small_server

from fixtures.catalog.load import PROMPTS, load_host
from fixtures.engine.client import LlamaClient
from fixtures.engine.memory import Memory
from fixtures.engine.server import launch
from fixtures.measure import coherence
from fixtures.models.host_models import HostModels
from fixtures.records.verdict import Verdict

pytestmark = pytest.mark.runtime

HOST = load_host("local")
CANDIDATE = HOST.candidate("smollm2-135m-q8")
CHAT = "/v1/chat/completions"
SAID = "choices.0.message.content"
MARKER = (PROMPTS / "coherence" / "zh_marker.toml").read_text("utf-8")

RARE = "𠮷野家的👩‍💻與❤️‍🔥。"
RECORD = '{"keeper": "園丁", "code": 42}'
SENTENCE = "園丁把雨傘放在石橋。"

# kind -> (the check as a prompt's file has it, the right answer, {broken answer: what is said of it})
CHECKS = {
    "exact": (
        f'text = "{RARE}"',
        RARE,
        {
            RARE.replace("𠮷", "吉"): "code point 1: '吉' (U+5409) instead of '𠮷' (U+20BB7)",
            RARE.replace("\u200d", "", 1): "'💻' (U+1F4BB) instead of '\\u200d' (U+200D)",
            RARE.replace("\ufe0f", ""): "instead of '️' (U+FE0F)",
            RARE.replace("𠮷", "\ufffd"): "'\ufffd' (U+FFFD) instead of '𠮷' (U+20BB7)",
        },
    ),
    "lines_exact": ('lines = ["春", "夏"]', "春\n夏", {"春": "it lacks: '夏'", "春\n夏\n春": "it has more: '春'"}),
    "contains_all": ('groups = [["園丁"], ["雨傘"]]', SENTENCE, {"園丁走了。": "expected it to contain '雨傘'"}),
    "contains_none": ('texts = ["沒有"]', SENTENCE, {f"沒有。{SENTENCE}": "expected it not to contain '沒有'"}),
    "script": (
        'script = "traditional"\nmin_han_pct = 50',
        SENTENCE,
        {
            SENTENCE.replace("園", "园"): "code point 1 is the simplified '园' (U+56ED)",
            SENTENCE.encode().decode("latin-1"): "mojibake, UTF-8 read as Windows-1252",
            "The gardener.": "0 % of its letters are, must be 50 %",
        },
    ),
    "ends": ('texts = ["。"]', SENTENCE, {SENTENCE[:-2]: "it is cut, or goes on"}),
    "json": (
        'keys = ["keeper", "code"]',
        RECORD,
        {
            RECORD[:-1]: "expected JSON: Expecting ',' delimiter",
            RECORD.replace("code", "cod"): "expected a JSON object with 'code'",
            f"好的：{RECORD}": "expected JSON: Expecting value",
            RECORD + RECORD: "expected JSON: Extra data",
        },
    ),
    "clean": (
        "",
        SENTENCE,
        {
            SENTENCE + "<unused24>": "expected no special token or turn marker; code point 11 begins '<unused24>'",
            SENTENCE + "\nuser\n": "code point 12 begins 'user'",
            SENTENCE + "雨傘放在" * 9: "expected no loop; from code point 11 on '雨傘放在' is repeated",
            SENTENCE * 9: "expected no loop; from code point 1 on ",
        },
    ),
}
BROKEN = [(kind, broken, said) for kind, (_, _, answers) in CHECKS.items() for broken, said in answers.items()]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The owner's folder: the marker prompt's questions, each with one check of its own."""
    folder = tmp_path_factory.mktemp("texts")
    head, asked = MARKER[: MARKER.index("[[checks]]")], MARKER[MARKER.index("[chat]") :]
    for kind, (check, _, _) in {**CHECKS, "taiwan": ("", "", {})}.items():
        text = f'{head}\n[[checks]]\nkind = "{kind}"\n{check}\n\n{asked}'
        (folder / f"{kind}.toml").write_text(text.replace('id = "zh_marker"', f'id = "{kind}"'), "utf-8")
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(the server, which drafts, and a proxy before it)."""
    plan = small_server(tmp_path_factory.mktemp("checks"), "checks", drafting=True)
    with launch(plan) as server, FaultProxy(plan.port) as proxy:
        yield server, proxy


@pytest.fixture
def judge(served, texts):
    """(check, answer) -> the judgement of COH-1 of the owner's prompt."""
    server, proxy = served
    host = HOST.model_copy(update={"coherence": HOST.coherence.model_copy(update={"texts": str(texts)})})

    def judgement(kind, answer):
        proxy.rule = Rule(CHAT, values={SAID: answer})
        with LlamaClient(proxy.url) as client:
            behind = SimpleNamespace(
                client=client, alias=server.alias, log_facts=server.log_facts, log_name=server.log_name, death=server.death
            )
            found = coherence.answer(
                SimpleNamespace(
                    host=host,
                    candidate=CANDIDATE,
                    case=kind,
                    models=HostModels(host, quiet),
                    server=behind,
                    memory=Memory(),
                    attached=None,
                )
            )
        return judged(evidence("COH-1", CANDIDATE.id, found.measured, case=kind, raw=found.raw), CANDIDATE, host)

    return judgement


@pytest.mark.parametrize("kind", CHECKS)
def test_the_right_answer_passes(judge, kind):
    found = judge(kind, CHECKS[kind][1])
    assert found.verdict is Verdict.PASS, found.reason


@pytest.mark.parametrize(("kind", "broken", "said"), BROKEN, ids=[f"{kind}-{number}" for number, (kind, _, _) in enumerate(BROKEN)])
def test_a_broken_answer_is_red(judge, kind, broken, said):
    found = judge(kind, broken)
    assert found.verdict is Verdict.FAIL, found.reason
    assert f"text check failed: {kind}: answer is " in found.reason
    assert said in found.reason


def test_a_word_of_mainland_china_is_told_and_decides_nothing(judge):
    found = judge("taiwan", "這個軟件的質量很好，信息也多。")
    assert found.verdict is Verdict.PASS, found.reason
    assert "worth a look: 軟件: Taiwan says 軟體; 質量: Taiwan says 品質; 信息: Taiwan says 資訊" in found.reason
