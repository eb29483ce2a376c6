"""The palette is readable: every text colour on every ground it is set on, in light and dark, meets WCAG AA."""

import re

import pytest
from support.places import ROOT

STYLE = (ROOT / "fixtures" / "report" / "style.css").read_text("utf-8")
GROUNDS = ("paper", "card", "faint", "mono-bg")
VERDICTS = ("pass", "fail", "invalid", "blocked", "waived", "not-run")
AA = 4.5


def palette(block):
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))


def palettes():
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", STYLE, re.DOTALL)
    return {"light": palette(light), "dark": {**palette(light), **palette(dark)}}


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_does():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_colours_meet_aa_on_every_ground(scheme):
    colours = palettes()[scheme]
    pairs = [(text, ground) for text in ("ink", "quiet", "link") for ground in GROUNDS]
    pairs += [(verdict, f"{verdict}-bg") for verdict in VERDICTS]
    pairs += [(verdict, ground) for verdict in VERDICTS for ground in ("paper", "card")]
    assert {f"{text} on {ground}": round(contrast(colours[text], colours[ground]), 2) for text, ground in pairs if
            contrast(colours[text], colours[ground]) < AA} == {}  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_and_light_define_the_same_verdict_colours(scheme):
    assert {name for verdict in VERDICTS for name in (verdict, f"{verdict}-bg")} <= palettes()[scheme].keys()


def test_dark_is_for_screens_only():
    assert "@media screen and (prefers-color-scheme: dark)" in STYLE
    assert not re.search(r"@media \(prefers-color-scheme", STYLE)


def test_style_loads_nothing():
    assert not re.search(r"url\(|@import|@font-face", STYLE)
