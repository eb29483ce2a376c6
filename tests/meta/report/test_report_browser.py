"""The page in a real browser: nothing overflows, the verdict needs no scrolling, links unfold what they point to, paper cuts no table."""

import pytest
from support.report_sample import ANSWERS, FIVE_STATES, five_states, host_of, run_of

from fixtures.catalog.load import load_requirements
from fixtures.report.html import render_page
from fixtures.report.page import build_page

SIZES = [(1280, 800), (390, 844)]
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202e\u2066שלום\ud800 " + "x" * 3000
A4_WIDTH_PX = 703  # 210 mm less the margins, at 96 px an inch

pytestmark = pytest.mark.runtime


def many_requirements(count=60):
    base = load_requirements()
    requirements = [base[n % len(base)].model_copy(update={"id": f"{base[n % len(base)].id.split('-')[0]}-{n + 40}"}) for n in range(count)]
    return run_of(host_of("dgx"), FIVE_STATES, requirements=requirements)


PAGES = {
    "five-en": (five_states(), "en"),
    "five-zh-TW": (five_states(), "zh-TW"),
    "standin-en": (run_of(host_of("local"), {}), "en"),
    "partial-zh-TW": (run_of(host_of("dgx"), FIVE_STATES, full_scope=False), "zh-TW"),
    "hostile-en": (run_of(host_of("dgx"), FIVE_STATES, answers=dict.fromkeys(ANSWERS, HOSTILE)), "en"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pages")
    for name, (sample, lang) in PAGES.items():
        (made / f"{name}.html").write_text(render_page(build_page(**sample._asdict(), lang=lang)), "utf-8")
    return made


@pytest.fixture
def open_page(browser, folder):
    """Opens a page of `folder`; fails the test on script errors, console messages and requests for anything but the page."""
    contexts = []
    seen = []

    def opened(name, size=(1280, 800), scheme="light", fragment=""):
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda request: seen.append(f"request: {request.url}") if not request.is_navigation_request() else None)
        page.goto((folder / f"{name}.html").as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert seen == []


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_sideways(open_page, name, size):
    page = open_page(name, size)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    width, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner


def test_the_check_for_overflow_can_fail(open_page):
    page = open_page("five-en", SIZES[1])
    page.evaluate("document.querySelector('#headline').style.width = '900px'")
    assert page.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_verdict_reason_and_next_command_are_seen_without_scrolling(open_page, name, size):
    page = open_page(name, size)
    seen = ["#headline", ".coverage", *([".reason", ".todo .why", ".todo .command"] if name.startswith("five") else [])]
    if size == SIZES[0]:
        seen.append(".screen .matrix tbody tr:last-child th a")
    for selector in seen:
        box = page.locator(selector).last.bounding_box()
        assert box is not None, selector
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1], f"{selector} ends below the first screen"
    sign = page.locator(".screen .matrix .sign").first.bounding_box()
    assert 0 <= sign["x"] < sign["x"] + sign["width"] <= size[0]


def test_fifty_two_requirements_fit_the_width_of_a_desktop(browser, tmp_path):
    file = tmp_path / "many.html"
    file.write_text(render_page(build_page(**many_requirements(52)._asdict())), "utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator(".screen .matrix thead tr:last-child th").count() == 52
    wide, seen = page.evaluate("[...document.querySelectorAll('.scroll.screen')].map(box => [box.scrollWidth, box.clientWidth])[0]")
    assert wide <= seen
    context.close()


@pytest.mark.parametrize("name", ["five-en", "five-zh-TW"])
def test_a_card_ends_with_its_command(open_page, name):
    page = open_page(name)
    for card in page.locator("#candidates .card").all():
        assert "pytest --host dgx" in card.locator("> :last-child code").text_content()


def test_hostile_answers_run_nothing(open_page):
    page = open_page("hostile-en")
    assert "owned" not in page.title()
    assert page.locator("script, img").count() == 0
    assert "<script>" in page.locator("#coherence .answer .foreign").first.text_content()


@pytest.mark.parametrize("name", ["five-en", "five-zh-TW"])
def test_a_number_leads_to_its_record_unfolded(open_page, name):
    page = open_page(name)
    target = page.locator("#speed a.num").first
    fragment = target.get_attribute("href")
    target.click()
    record = page.locator(fragment)
    assert record.is_visible()
    box = record.bounding_box()
    assert 0 <= box["y"] < 800


def test_a_link_from_the_matrix_unfolds_the_gate_of_a_ready_candidate(open_page):
    page = open_page("five-en", fragment="#g-26b-k3v4-TPS-1")
    assert page.locator("[id='g-26b-k3v4-TPS-1']").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
def test_every_text_has_enough_contrast(open_page, size, scheme):
    page = open_page("five-en", size, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert page.evaluate(POOR_CONTRAST) == []


def test_the_check_for_contrast_can_fail(open_page):
    page = open_page("five-en")
    page.evaluate("document.querySelector('.reason').style.color = '#bbb'")
    assert page.evaluate(POOR_CONTRAST) != []


@pytest.mark.parametrize("name", ["five-en", "five-zh-TW"])
def test_paper_is_a4_and_cuts_nothing_off(open_page, name, tmp_path):
    page = open_page(name, (A4_WIDTH_PX, 1000))
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH_PX
    assert page.locator(".matrix.paper").is_visible()
    assert not page.locator(".screen .matrix").is_visible()
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True, print_background=True)
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594.95996 841.91998]" in data or b"/MediaBox [0 0 595" in data


def test_paper_shows_all_sixty_requirements(browser, tmp_path):
    file = tmp_path / "many.html"
    file.write_text(render_page(build_page(**many_requirements()._asdict())), "utf-8")
    context = browser.new_context(viewport={"width": A4_WIDTH_PX, "height": 1000})
    page = context.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH_PX
    assert page.locator(".matrix.paper tbody tr").count() == 60
    context.close()


# every visible text against the grounds behind it, alpha composited; WCAG AA: 4.5, or 3 for large text
POOR_CONTRAST = """() => {
  const brush = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
  const known = new Map();
  const rgba = text => {
    if (!known.has(text)) {
      brush.clearRect(0, 0, 1, 1); brush.fillStyle = text; brush.fillRect(0, 0, 1, 1);
      known.set(text, [...brush.getImageData(0, 0, 1, 1).data].map((value, at) => at == 3 ? value / 255 : value));
    }
    return known.get(text);
  };
  const over = (top, under) => [0, 1, 2].map(at => top[at] * top[3] + under[at] * (1 - top[3]));
  const ground = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = rgba(getComputedStyle(at).backgroundColor);
      if (layer[3]) layers.push(layer);
      if (layer[3] == 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = colour => {
    const [r, g, b] = colour.map(value => value / 255).map(value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('svg, .hide, .skip') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), under = ground(element);
    const [high, low] = [light(over(rgba(style.color), under)), light(under)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const text = walker.currentNode.data.trim().slice(0, 30);
    if ((high + .05) / (low + .05) < (large ? 3 : 4.5)) poor.add(`${element.tagName}.${element.className}: ${text}`);
  }
  return [...poor];
}"""
