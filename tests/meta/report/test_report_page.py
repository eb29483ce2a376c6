"""The page as HTML: self-contained, safe, small, whole in both languages, every number linked."""

import re
from functools import cache
from html.parser import HTMLParser

import pytest
from support.report_sample import ANSWERS, FIVE_STATES, Sample, five_states, host_of, run_of

from fixtures.catalog.load import load_requirements
from fixtures.records.signoff import Night
from fixtures.records.verdict import Verdict
from fixtures.records.visible import is_hidden
from fixtures.report.html import render_page
from fixtures.report.page import build_page
from fixtures.report.strings import LANGUAGES

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil\u2066\ud800\x00\x1b[31m {{ 7*7 }} \"'&"
VOID = {"meta", "br", "link", "img", "input", "hr"}
MEGABYTES = 3_000_000


class Page(HTMLParser):
    """Elements, ids, links and text of a page; unbalanced tags are an error."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.text = []
        self._open = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" not in self._open:
            self.text.append(data)

    def ids(self):
        return [value for _, attributes in self.tags if (value := attributes.get("id"))]

    def links(self):
        return [value for tag, attributes in self.tags if tag in {"a", "use"} and (value := attributes.get("href"))]


def html_of(sample, lang="en"):
    return render_page(build_page(**sample._asdict(), lang=lang))


@cache
def five_html(lang):
    return html_of(five_states(), lang)


@cache
def five_page(lang):
    return Page(five_html(lang))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_page_is_well_formed_and_its_ids_are_unique(lang):
    ids = five_page(lang).ids()
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_link_of_the_page_arrives(lang):
    page = five_page(lang)
    ids = set(page.ids())
    inside = {link[1:] for link in page.links() if link.startswith("#")}
    assert inside - ids == set()
    outside = {link for link in page.links() if not link.startswith("#")}
    assert {link for link in outside if re.match(r"[a-z]+:|/", link)} == set()
    assert "logs/26b-k3v4-production.log" in outside


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_reference_between_elements_arrives(lang):
    page = five_page(lang)
    named = {name for _, attributes in page.tags for name in (attributes.get("aria-labelledby") or "").split()}
    assert named - set(page.ids()) == set()


def test_page_loads_nothing_and_runs_no_script():
    page = five_page("en")
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"} == set()
    attributes = {name for _, found in page.tags for name in found}
    assert {name for name in attributes if name.startswith("on")} == set()
    assert not re.search(r"url\(|@import|https?://", five_html("en"))
    policy = next(found["content"] for tag, found in page.tags if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_every_measured_number_links_to_its_record():
    page = five_page("en")
    numbers = [found for tag, found in page.tags if tag == "a" and found.get("class") == "num"]
    assert len(numbers) > 100
    assert all(re.fullmatch(r"#e\d+", found["href"] or "") for found in numbers)
    assert {f"e{record.seq}" for record in five_states().evidence} <= set(page.ids())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_chart_without_verdicts_says_its_numbers_in_words(lang):
    figure = re.search(r'<figure class="chart" id="chart-savings".*?</figure>', five_html(lang), re.DOTALL)
    assert figure
    assert figure[0].count("<svg role=") == 6
    told = re.findall(r"<desc [^>]*>(.*?)</desc>", figure[0])
    assert len(told) == 6
    assert all(number in told[4] for number in ("11,440.00", "6,077.50", "2,636.56", "2,234.38"))
    assert "v-" not in re.sub(r"lane_\w+", "", figure[0])


def test_what_a_report_states_wrongly_is_struck_through():
    assert "<s>1.40 GiB</s>" in five_html("en")


def test_the_verdict_stands_before_everything_else():
    html = five_html("en")
    assert html.index('id="verdict"') < html.index('id="matrix"') < html.index('id="goal"') < html.index('id="evidence"')


@pytest.mark.parametrize(
    ("sample", "tone", "words"),
    [
        (five_states(), "tone-not_ready", ["NOT READY"]),
        (run_of(host_of("dgx"), {}), "tone-ready", ["READY"]),
        (run_of(host_of("dgx"), {}, full_scope=False), "tone-partial", ["PARTIAL RUN"]),
        (run_of(host_of("dgx"), FIVE_STATES, full_scope=False), "tone-not_ready", ["NOT READY", "PARTIAL RUN"]),
        (run_of(host_of("local"), {}), "tone-ready", ["READY", "STAND-IN"]),
        (run_of(host_of("dgx"), {"31b-k3v3": Verdict.BLOCKED}), "tone-incomplete", ["INCOMPLETE"]),
    ],
    ids=["five", "ready", "partial", "partial-failing", "standin", "incomplete"],
)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_headline_says_what_it_must(sample, tone, words, lang):
    html = html_of(sample, lang)
    heading = re.search(r"<h1.*?</h1>", html, re.DOTALL)
    banner = re.search(r'<section class="banner ([^"]*)"', html)
    assert heading is not None
    assert banner is not None
    assert banner[1].split()[0] == tone
    said = re.sub(r"<[^>]*>", " ", heading[0])
    assert all(word in said for word in words)
    if tone != "tone-ready":
        assert not re.search(r"(?<!NOT )READY", said)
        assert "tone-ready" not in html.split("</style>")[1]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_verdict_is_always_said_in_words(lang):
    marks = re.findall(r'<span class="mark v-[A-Z_]+[^"]*"><svg.*?</svg>([^<]+)', five_html(lang))
    cells = re.findall(r'<a class="v-[A-Z_]+" href="[^"]*"><svg.*?</svg><span class="w">([^<]+)</span>', five_html(lang))
    assert len(cells) > 80
    assert all(text.strip() for text in (*marks, *cells))


def test_charts_have_a_text_alternative_with_their_numbers():
    html = five_html("en")
    charts = re.findall(r'<svg role="img".*?</svg>', html, re.DOTALL)
    assert len(charts) >= 15
    descriptions = [re.search(r"<title[^>]*>[^<]+</title><desc[^>]*>([^<]+)</desc>", chart) for chart in charts]
    assert all(descriptions)
    told = "\n".join(found[1] for found in descriptions if found)
    assert "26b-k3v3: Decode speed 55.87 t/s, 99.8 % interval 55.20 – 56.59, limit ≥ 59.55, FAIL" in told
    assert "e4b-k3v4: computed 38.72 MiB, allocated 38.72 MiB, PASS" in told


def test_tables_have_captions_and_scoped_headers():
    page = five_page("en")
    headers = [found for tag, found in page.tags if tag == "th"]
    assert all(found.get("scope") in {"col", "colgroup", "row", "rowgroup"} for found in headers)
    tables = [found for tag, found in page.tags if tag == "table" and found.get("class") == "data"]
    assert len(tables) == sum(tag == "caption" for tag, _ in page.tags)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_page_says_its_language_and_marks_what_is_english_in_it(lang):
    page = five_page(lang)
    assert next(found["lang"] for tag, found in page.tags if tag == "html") == lang
    if lang == "zh-TW":
        text = " ".join(page.text)
        assert "模型檔案齊全" in text
        assert "Artefacts are complete" not in text
        assert 'lang="en">port 8090 is taken' in five_html(lang)


def test_hostile_text_everywhere_is_shown_and_never_active():
    host = host_of("dgx")
    sample = run_of(host, FIVE_STATES, answers=dict.fromkeys(ANSWERS, HOSTILE))
    candidates = tuple(
        c.model_copy(
            update={
                "title": HOSTILE,
                "next_step": HOSTILE,
                "exempt": {"KV-1": HOSTILE},
                "unasked": {HOSTILE: HOSTILE},
                "gates": tuple(
                    g.model_copy(update={"case": HOSTILE, "judgement": g.judgement.model_copy(update={"reason": f"{HOSTILE}\n{HOSTILE}"})})
                    for g in c.gates
                ),
            }
        )
        for c in sample.verdict.candidates
    )
    verdict = sample.verdict.model_copy(
        update={"host": HOSTILE, "host_title": HOSTILE, "master_reason": HOSTILE, "candidates": candidates, "models": {HOSTILE: ""}}
    )
    launches = tuple(x.model_copy(update={"argv": (HOSTILE,), "env": {HOSTILE: HOSTILE}, "log": HOSTILE}) for x in sample.launches)
    manifest = sample.manifest.model_copy(update={"host_choice": HOSTILE})
    html = html_of(Sample(manifest, verdict, sample.evidence, launches, {HOSTILE.replace("/", ""): "x.html"}))
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {"script", "img"} == set()
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert not {character for character in html if is_hidden(character) and character not in "\n\t"}
    html.encode("utf-8")
    assert "<script>alert(1)</script>" in "".join(page.text), "it is shown, as text"
    assert "U+202E" in html
    assert "49" not in re.findall(r"\[31m (\S+)", "".join(page.text)), "data is not a template"


def test_an_answer_of_two_megabytes_states_its_length_and_hash():
    html = html_of(run_of(host_of("dgx"), {}, answers={**ANSWERS, "repeat_line": "很" * 700_000}))
    assert len(html.encode()) < MEGABYTES
    assert "700,000 characters, 2,100,000 bytes" in html
    assert re.search(r"only the first [\d,]{3,5} characters are shown", html)


@pytest.mark.runtime
def test_sixty_requirements_with_the_worst_of_everything_stay_under_three_megabytes():
    """Every gate fails with 40 lines of log, every answer has 2 MB, every record is as long as it can be."""
    base = load_requirements()
    requirements = [base[n % len(base)].model_copy(update={"id": f"{base[n % len(base)].id.split('-')[0]}-{n + 100}"}) for n in range(60)]
    sample = run_of(host_of("dgx"), {}, requirements=requirements, answers=dict.fromkeys(ANSWERS, "文<\u202e" * 700000))
    reason = "\n".join(["測試伺服器已結束 exit 134 " * 12] * 40)
    candidates = tuple(
        c.model_copy(
            update={
                "gates": tuple(
                    g.model_copy(
                        update={"judgement": g.judgement.model_copy(update={"verdict": Verdict.FAIL, "reason": f"{g.seq} {reason}"})}
                    )
                    for g in c.gates
                )
            }
        )
        for c in sample.verdict.candidates
    )
    long = {"lines": [f"line {number} 很長" for number in range(5000)], "text": "x" * 100_000}
    evidence = tuple(record.model_copy(update={"reason": reason, "raw": {**record.raw, **long}}) for record in sample.evidence)
    html = html_of(Sample(sample.manifest, sample.verdict.model_copy(update={"candidates": candidates}), evidence, sample.launches, {}))
    assert len(evidence) > 340
    assert len(html.encode()) < MEGABYTES


def test_the_page_of_other_languages_is_linked_but_not_the_page_itself():
    links = {"page:en": "index.html", "page:zh-TW": "index.zh-TW.html"}
    html = html_of(five_states()._replace(links=links))
    assert '<a href="index.zh-TW.html" hreflang="zh-TW">繁體中文</a>' in html
    assert 'href="index.html"' not in html


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_rehearsed_night_stands_on_the_page_with_how_to_split_it(lang):
    sample = five_states()
    night = Night(rehearsal="dgx-rehearsal", ratio=12.27, seconds={"31b-k3v3": 6 * 3600.0, "26b-k3v3": 3 * 3600.0}, unknown=2)
    manifest = sample.manifest.model_copy(update={"night": night})
    text = " ".join("".join(Page(render_page(build_page(**{**sample._asdict(), "manifest": manifest}, lang=lang))).text).split())
    for told in ("dgx-rehearsal", "12.3", "9.0 h", "31b-k3v3 6.0 h", '-k "31b-k3v3"; -k "26b-k3v3"', "8.0 h"):
        assert told in text
    without = " ".join(Page(render_page(build_page(**sample._asdict(), lang=lang))).text)
    assert "dgx-rehearsal" not in without
