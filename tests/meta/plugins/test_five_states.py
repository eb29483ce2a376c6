"""One real run with a candidate in each state - passing, failing, waived, blocked, invalid -, as its reader sees it in Chromium."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import child_session

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here: DEP-1 would be blocked"),
]

PORT = 18780
STATES = {"passing": "PASS", "failing": "FAIL", "waived": "WAIVED", "blocked": "BLOCKED", "invalid": "INVALID"}
SIGNOFFS = {"passing": "READY", "failing": "NOT READY", "waived": "READY", "blocked": "INCOMPLETE", "invalid": "INCOMPLETE"}
PAGES = {"en": "index.html", "zh-TW": "index.zh-TW.html"}
WORDS = {
    "en": {"PASS": "PASS", "FAIL": "FAIL", "WAIVED": "WAIVED", "BLOCKED": "BLOCKED", "INVALID": "INVALID"},
    "zh-TW": {"PASS": "通過", "FAIL": "不通過", "WAIVED": "豁免", "BLOCKED": "受阻", "INVALID": "無效"},
}
HEADLINES = {"en": "NOT READY", "zh-TW": "不得上線 NOT READY"}
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
A4_WIDTH_PX = 703  # 210 mm less the margins, at 96 px an inch
WAIVER = """\
schema = 1
[[waiver]]
requirement = "TPS-1"
candidate = "waived-q8"
reason = "the ASR has to stay up this week"
who = "Ann"
date = "{date}"
expires = "{expires}"
"""


def write_host(folder):
    """Five candidates on one small model; two of them owe a speed that no machine has. The one that noise voids comes last."""
    file = child_session.write_host(folder, port=PORT, models=dict.fromkeys(STATES, child_session.Model()))
    head, *entries = file.read_text().replace("max_tokens = 32", "max_tokens = 16").split("\n[[candidates]]\n")
    for name, entry in zip(STATES, entries, strict=True):
        owed = "reference = 5000.0" if name in ("failing", "waived") else "reference = 0.1"
        head += "\n[[candidates]]\n" + entry.replace("decode_tps = { reference = 0.1", f"decode_tps = {{ {owed}")
    file.write_text(head)
    return file


class Five:
    """The ended run, with what it was given."""

    def __init__(self, folder):
        today = datetime.now(UTC)
        self.expires = f"{today + timedelta(days=7):%Y-%m-%dT%H:%MZ}"
        waivers = folder / "waivers.toml"
        waivers.write_text(WAIVER.format(date=f"{today:%Y-%m-%d}", expires=self.expires))
        self.host = write_host(folder)
        self.reports = folder / "reports"
        burn = [sys.executable, "-c", "while True: pass", f"asr-service-of-{self.host.stem}"]
        with socket.create_server(("127.0.0.1", PORT + 4)):  # what the blocked candidate would be launched on
            session = child_session.start(self.host, self.reports, "--signoff", f"--waivers={waivers}")
            session.wait_for_launch(4, timeout=240)  # the fourth that can be launched is the last one: `invalid`
            with subprocess.Popen(burn) as burner:
                self.status = session.wait()
                burner.kill()
        self.output, self.folder = session.output, session.folder
        self.verdict = json.loads((self.folder / "verdict.json").read_text())
        self.again = f"pytest --host={self.host} --waivers={waivers} --reports={self.reports}"

    @property
    def settled(self):
        """What pytest counts once nothing is in the way, of all gates and of speed: as of the passing one, which owes the same."""
        (gates,) = [candidate["gates"] for candidate in self.verdict["candidates"] if candidate["candidate"] == "passing-q8"]
        verdicts = Counter(gate["judgement"]["verdict"] for gate in gates)
        speed = [gate for gate in gates if gate["marker"] == "tps" and gate["judgement"]["verdict"] == "PASS"]
        return {"all": f"{verdicts['PASS']} passed, {verdicts['BLOCKED']} skipped", "speed": f"{len(speed)} passed"}

    @property
    def commands(self):
        """What each state's reader is told to run, in this order."""
        return {
            "failing": [f"{self.again} -m tps -k failing-q8 --fresh"],
            "blocked": [f"{self.again} -m audit -k blocked-q8", f"{self.again} -k blocked-q8"],
            "invalid": [f"{self.again} -m audit -k invalid-q8", f"{self.again} -m tps -k invalid-q8"],
            "waived": [f"{self.again} -m tps -k waived-q8 --fresh"],
        }


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    found = Five(tmp_path_factory.mktemp("five"))
    assert "Traceback" not in found.output, found.output
    return found


def test_the_run_has_five_states_and_is_not_ready(five):
    assert five.status == 1, five.output
    assert five.verdict["master"] == "NOT READY"
    assert five.verdict["master_reason"] == "failing: failing-q8 is NOT READY"
    assert five.verdict["full_scope"] is True
    found = {c["candidate"].removesuffix("-q8"): c for c in five.verdict["candidates"]}
    assert {name: c["worst"] for name, c in found.items()} == STATES
    assert {name: c["signoff"] for name, c in found.items()} == SIGNOFFS
    open_gates = {
        (name, gate["requirement"]): gate["judgement"]["verdict"]
        for name, candidate in found.items()
        for gate in candidate["gates"]
        if gate["tier"] == "required" and gate["judgement"]["verdict"] != "PASS"
    }
    blocked = {key: verdict for key, verdict in open_gates.items() if key[0] == "blocked"}
    assert set(blocked.values()) == {"BLOCKED"}
    assert {requirement for _, requirement in blocked} >= {"AUD-2", "KV-1", "COH-1", "TPS-1", "TPS-2", "DEP-2"}
    assert {key: open_gates[key] for key in open_gates.keys() - blocked.keys()} == {
        ("failing", "TPS-1"): "FAIL",
        ("waived", "TPS-1"): "WAIVED",
        ("invalid", "TPS-1"): "INVALID",
    }, "each for its own reason, and for no other"


@pytest.fixture(params=PAGES)
def lang(request):
    return request.param


@pytest.fixture
def page_in(five, browser):
    """Opens a page of the run without any script."""
    contexts = []

    def opened(lang, size):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, java_script_enabled=False)
        contexts.append(context)
        page = context.new_page()
        page.goto((five.folder / PAGES[lang]).as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def looks(page, matrix):
    """Word, symbol and colours of each state's TPS-1 cell."""
    cells = page.evaluate(
        """matrix => [...document.querySelectorAll(matrix)].map(cell => {
            const style = getComputedStyle(cell);
            return [cell.className, cell.querySelector('.w').textContent, cell.querySelector('use').getAttribute('href'),
                    style.color, style.backgroundColor, cell.checkVisibility()];
        })""",
        matrix,
    )
    assert all(visible for *_, visible in cells)
    return {name.removeprefix("v-"): tuple(rest) for name, *rest, _ in cells}


def assert_distinct(found, lang):
    assert {state: word for state, (word, *_) in found.items()} == WORDS[lang]
    for aspect in zip(*found.values(), strict=True):
        assert len(set(aspect)) == len(STATES), f"two states look alike: {aspect}"


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_five_distinct_states_are_seen_at_once(page_in, lang, size):
    page = page_in(lang, size)
    assert_distinct(looks(page, ".screen .matrix td a[href$='-TPS-1']"), lang)
    assert page.locator("#headline span").text_content() == HEADLINES[lang]
    signs = page.locator(".screen .matrix tbody th .sign")
    assert [re.search(r"s-(\w+)", sign.get_attribute("class"))[1].replace("_", " ") for sign in signs.all()] == [*SIGNOFFS.values()]
    assert [" waived" in sign.get_attribute("class") for sign in signs.all()] == [name == "waived" for name in STATES]
    passing, _, waived, *_ = (sign.evaluate("sign => getComputedStyle(sign).backgroundColor") for sign in signs.all())
    assert waived != passing, "READY by a waiver is never green"
    lowest = page.locator(".banner .lanes li").last.bounding_box()
    assert lowest["y"] + lowest["height"] <= size[1], "every candidate's sign-off is seen without scrolling"
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def told(page):
    """The runbook as its reader finds it: candidate, state and commands of each step."""
    steps = page.locator("#runbook .steps > li")
    return [
        (
            step.locator(".who b").text_content().removesuffix("-q8"),
            re.search(r"v-(\w+)", step.locator(".who .mark").get_attribute("class"))[1],
            step.locator("pre.command").all_text_contents(),
        )
        for step in steps.all()
    ]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_each_state_has_its_next_command(five, page_in, lang, size):
    page = page_in(lang, size)
    assert told(page) == [(name, STATES[name], commands) for name, commands in five.commands.items()]
    assert page.locator(".banner .todo .command").text_content() == five.commands["failing"][0]
    runbook = page.locator("#runbook").text_content()
    assert f"{five.again} --signoff" in runbook
    assert f"until {five.expires}: the ASR has to stay up this week" in runbook
    assert f"port {PORT + 4} is taken by " in runbook
    assert "asr came up: " in runbook
    assert "must be at least 5000 t/s" in runbook
    assert page.locator("#runbook p a", has_text="passing-q8").count() == 1


def test_on_paper_the_states_and_commands_are_the_same(five, page_in, lang, tmp_path):
    page = page_in(lang, (A4_WIDTH_PX, 1000))
    page.emulate_media(media="print")
    assert_distinct(looks(page, ".matrix.paper td a[href$='-TPS-1']"), lang)
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH_PX
    assert told(page) == [(name, STATES[name], commands) for name, commands in five.commands.items()]
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True, print_background=True)
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_terminal_and_chat_say_the_same(five):
    chat = (five.folder / "summary.md").read_text("utf-8")
    for name, commands in five.commands.items():
        if name != "waived":
            assert all(f"`{command}`" in chat for command in commands)
    shown = re.findall(r"^  \$ (.*)$", five.output, re.MULTILINE)
    assert shown == [five.commands["failing"][0]], "one command: of the failure that decides"
    assert "NOT READY" in chat.splitlines()[0]
    for text in (" ".join(five.output.split()), chat):
        assert f"waiver by Ann of {datetime.now(UTC):%Y-%m-%d}, until {five.expires}" in text


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("failing", 1, "FAIL: failing-q8 TPS-1"),
        ("blocked", 0, "{all}"),
        ("invalid", 0, "{speed}"),
        ("waived", 0, "waived-q8 TPS-1: waiver by Ann"),
    ],
)
def test_the_command_does_what_its_reader_needs(five, name, status, said):
    """As copied from the page, after the port was freed and the load has gone: it selects the right gates and settles them."""
    program, *arguments = shlex.split(five.commands[name][-1])
    assert program == "pytest"
    command = [sys.executable, "-m", "pytest", *arguments, "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=child_session.ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == status, ended.stdout
    assert said.format(**five.settled) in " ".join(ended.stdout.split())
    newest = max(path for path in Path(five.reports).iterdir() if path.is_dir())
    assert newest != five.folder, "its evidence joins that of the run whose page it was copied from"
