"""A requirement or family that this room has never heard of is told in its own words: column, chart, table, matrix, both languages."""

import re
from functools import cache

import pytest
from support.report_pages import blocks_of, page_of, summed
from support.report_sample import host_of, run_of

from fixtures.catalog.load import load_families, load_requirements
from fixtures.catalog.requirement import Family, Figure, Requirement, Translation
from fixtures.records.verdict import Judgement, Verdict
from fixtures.report.blocks import Chart, Table
from fixtures.report.html import render_page
from fixtures.report.sections.families import TOLD_ELSEWHERE
from fixtures.report.strings import LANGUAGES

LATENCY = Family(id="latency", name="latency", zh_tw="延遲", title="answers begin soon", runbook=1)
NUMBERS = {"LAT-1": 41.5, "TPS-9": 812.25}


def requirement(requirement_id, marker, figure, zh_tw):
    return Requirement(
        id=requirement_id, marker=marker, order=500, title=f"Title of {requirement_id}", must=f"{requirement_id} MUST hold.", zh_tw=zh_tw,
        tier="required", runtime=True, area="tps_accept", identity=("engine",), figure=figure, source="test",
    )  # fmt: skip


INVENTED = (
    requirement(
        "LAT-1",
        "latency",
        Figure(key="first_token_ms", unit="ms", title="First token", zh_tw="首個詞元", place=1, chart=True),
        Translation(title="很快開始回答", must="第一個詞元必須及時出現。"),
    ),
    requirement("LAT-2", "latency", None, None),
    requirement(
        "TPS-9",
        "tps",
        Figure(key="prompt_tps", unit="t/s", title="Prompt speed", zh_tw="提示處理速度", place=35, chart=True),
        Translation(title="提示處理夠快", must="提示處理速度必須達到參考值。"),
    ),
)


def measured(record):
    figure = next((item.figure for item in INVENTED if item.id == record.requirement), None)
    return record.model_copy(update={"measured": {figure.key: NUMBERS[record.requirement]}}) if figure else record


def judged(gate):
    if gate.requirement not in NUMBERS:
        return gate
    number = NUMBERS[gate.requirement]
    unit = next(item.figure.unit for item in INVENTED if item.id == gate.requirement and item.figure)
    judgement = Judgement(
        verdict=Verdict.PASS, reason="within its limit", measured=number, limit=100.0, margin=abs(100 - number), unit=unit
    )
    return gate.model_copy(update={"judgement": judgement})


@cache
def sample():
    made = run_of(host_of("dgx"), {}, requirements=[*load_requirements(), *INVENTED])
    candidates = tuple(c.model_copy(update={"gates": tuple(map(judged, c.gates))}) for c in made.verdict.candidates)
    families = (*made.manifest.families, LATENCY.model_dump(mode="json", by_alias=True))
    return made._replace(
        manifest=made.manifest.model_copy(update={"families": families}),
        verdict=made.verdict.model_copy(update={"candidates": candidates}),
        evidence=tuple(map(measured, made.evidence)),
    )


@cache
def page(lang="en"):
    return page_of(sample(), lang=lang)


@cache
def html(lang):
    return render_page(page(lang))


def part(lang, section):
    found = re.search(rf'<section class="part" id="{section}".*?</section>', html(lang), re.DOTALL)
    assert found
    return found[0]


SAID = {
    "en": {"family": "latency", "title": "Title of LAT-1", "must": "LAT-1 MUST hold.", "figure": "First token", "speed": "Prompt speed"},
    "zh-TW": {"family": "延遲", "title": "很快開始回答", "must": "第一個詞元必須及時出現。", "figure": "首個詞元", "speed": "提示處理速度"},
}
languages = pytest.mark.parametrize("lang", LANGUAGES)


@languages
def test_its_column_of_the_summary_stands_in_its_place(lang):
    tables = [block for block in blocks_of(page(), "candidates") if isinstance(block, Table)]
    titles = [[column.title.head for column in table.columns if column.title] for table in tables]
    figures = [item.figure for item in (*load_requirements(), *INVENTED) if item.figure]
    expected = [figure.title for figure in sorted(figures, key=lambda figure: figure.place)]
    assert [title for table in titles for title in table] == expected
    assert len(titles[0]) == 6, "what does not fit on paper has a table of its own"
    assert f'<th scope="col" role="columnheader" class="r">{SAID[lang]["figure"]}</th>' in part(lang, "candidates")
    assert re.search(r'<a class="num" href="#e\d+">41.5 <small>ms</small></a>', part(lang, "candidates"))


@languages
def test_its_family_has_a_section_with_chart_and_table(lang):
    said, section = SAID[lang], part(lang, "family-latency")
    assert f'<h2 id="family-latency-title">{said["family"]}</h2>' in section
    assert f'<a href="#family-latency">{said["family"]}</a>' in html(lang)
    assert f'<figcaption id="chart-LAT-1-title">{said["figure"]} <span>ms</span></figcaption>' in section
    assert f"26b-k3v4: {said['figure']} 41.5 ms".replace(": ", "：" if lang == "zh-TW" else ": ") in section
    (table,) = [block for block in blocks_of(page(), "family-latency") if isinstance(block, Table)]
    assert [column.key for column in table.columns[2:7]] == ["verdict", "measured", "limit", "margin", "reason"]
    assert {"LAT-1", "LAT-2"} <= set(re.findall(r"LAT-\d", repr(table)))


@languages
def test_a_new_requirement_of_an_old_family_is_charted_in_its_section(lang):
    charts = [block for block in blocks_of(page(), "speed") if isinstance(block, Chart)]
    assert [chart.anchor for chart in charts] == ["chart-TPS-1", "chart-TPS-9", "chart-TPS-2"], "in the order of their columns"
    assert f"{SAID[lang]['speed']} <span>t/s</span></figcaption>" in part(lang, "speed")
    rest = [block for block in blocks_of(page(), "speed") if isinstance(block, Table)][-1]
    assert "TPS-9" in repr(rest)
    assert "812.25" in repr(rest)


def test_a_chart_of_an_advisory_requirement_says_so():
    """Its verdict must not look as if it decided anything."""
    (chart,) = [block for block in blocks_of(page(), "perplexity") if isinstance(block, Chart)]
    assert all(row.advisory for row in chart.rows)
    assert "0.31824 nats, BLOCKED, advisory" in part("en", "perplexity")


@languages
def test_matrix_and_list_of_requirements_have_its_words(lang):
    said = SAID[lang]
    head = re.search(r'<a href="#r-LAT-1" title="LAT-1: (.*?)"><span class="hide">LAT-</span>1</a>', html(lang))
    assert head
    assert head[1] == said["title"]
    assert re.search(rf'class="family" title="{said["family"]}">LAT<', html(lang))
    assert said["title"] in part(lang, "requirements")
    assert said["must"] in part(lang, "requirements")


def test_without_a_translation_it_is_english_and_marked_as_such():
    assert '<span lang="en">Title of LAT-2</span>' in part("zh-TW", "requirements")
    assert '<span lang="en">LAT-2 MUST hold.</span>' in part("zh-TW", "requirements")


def test_its_place_in_the_runbook_is_its_own():
    failed = run_of(host_of("dgx"), {"26b-k3v4": Verdict.NOT_RUN}, requirements=[*load_requirements(), *INVENTED])
    families = [*load_families(), LATENCY]
    assert summed(failed.verdict, families=families).steps[0].requirements[0] == "LAT-1"
    assert summed(failed.verdict).steps[0].requirements[-1] == "LAT-2", "a family that nobody placed comes last"


def test_a_case_that_fails_is_the_figure_and_hides_behind_no_other():
    made = sample()
    first = made.verdict.candidates[0]
    gates = [gate for gate in first.gates if gate.requirement != "LAT-1"]
    one = next(gate for gate in first.gates if gate.requirement == "LAT-1")
    bad = one.model_copy(update={"case": "b", "seq": 1, "judgement": Judgement(verdict=Verdict.FAIL, reason="slow")})
    verdict = made.verdict.model_copy(update={"candidates": (first.model_copy(update={"gates": (*gates, one, bad)}),)})
    slow = made.evidence[0].model_copy(update={"measured": {"first_token_ms": 999.0}})
    worse = page_of(made, verdict=verdict, evidence=(slow, *made.evidence[1:]))
    table = next(block for block in blocks_of(worse, "candidates") if isinstance(block, Table))
    assert "999" in repr(table.groups[0].rows[0].cells[2])
    assert "FAIL" in repr(table.groups[0].rows[0].cells[2])


@pytest.mark.parametrize("family", [family.id for family in load_families()])
def test_every_family_has_exactly_one_section_of_gates(family):
    """A family that `families` leaves to another section, and that no section takes, would vanish from the page."""
    of_family = [item for item in load_requirements() if item.marker == family]
    made = run_of(host_of("dgx"), {}, requirements=of_family)
    whole, bare = page_of(made), page_of(made, verdict=made.verdict.model_copy(update={"candidates": ()}))
    added = (
        {section.id for section in whole.sections}
        - {section.id for section in bare.sections}
        - {"candidates", "claims", "decision", "waivers"}
    )
    if family == "deploy":  # its section shows the units of the host, too
        assert "services.gates" in repr(blocks_of(whole, "services"))
    else:
        assert len(added) == 1
        assert (added == {f"family-{family}"}) == (family not in TOLD_ELSEWHERE)
