"""An owner's own folder of prompts is used; what is broken in it is refused with one message."""

import shutil

import pytest

from fixtures.measure.prompts import PROMPTS, PromptError, load_prompt


@pytest.fixture
def folder(tmp_path):
    """A folder of the owner's own with one good prompt."""
    shutil.copy(PROMPTS / "coherence" / "zh_marker.toml", tmp_path)
    return tmp_path


def test_an_owners_folder_is_used(folder):
    assert load_prompt("zh_marker", str(folder)) == load_prompt("zh_marker") == load_prompt("zh_marker", "shipped")


def test_one_byte_changes_the_hash(folder):
    file = folder / "zh_marker.toml"
    file.write_bytes(file.read_bytes() + b"\n")
    assert load_prompt("zh_marker", str(folder)).sha256 != load_prompt("zh_marker").sha256


def _without(text, start, end):
    return text[: text.index(start)] + text[text.index(end) :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (lambda text: text.encode("utf-8-sig"), "byte-order mark"),
        (
            lambda text: text.replace('text = "【', 'text = ""  # "【', 1).encode(),
            "line 10: `checks[0].text` is empty; expected at least one entry or character. See",
        ),
        (
            lambda text: (text + '[[completion.checks]]\nkind = "json"\nkeys = []\n').encode(),
            "`completion.checks[0].keys` is empty; expected at least one entry or character. See",
        ),
        (lambda text: text.encode("big5"), "is not UTF-8"),
        (lambda text: text.encode().replace("驗".encode(), b"\xe9\xa9", 1), "line 10: is not UTF-8 (byte "),
        (lambda text: (text + "[chat]\n").encode(), "is not valid TOML"),
        (
            lambda text: text.replace('id = "zh_marker"', 'id = "marker"').encode(),
            '`id` is "marker", but the file\'s name says "zh_marker"',
        ),
        (lambda text: text.replace("max_tokens", "max_token", 1).encode(), "chat.max_token"),
        (
            lambda text: text.replace('kind = "exact"', 'kind = "exactly"').encode(),
            'line 9: `checks[0].kind` is "exactly"; did you mean `exact`?',
        ),
        (
            lambda text: (text + '[[completion.checks]]\nkind = "regex"\n').encode(),
            '`completion.checks[0].kind` is "regex"; valid: clean, contains_all, ',
        ),
        (
            lambda text: ("checks = 5\n" + text.replace("[[checks]]", "[[chat.checks]]").replace('"exact"', '"x"', 1)).encode(),
            "`checks` is ",
        ),
        (lambda text: text.replace("schema = 1", "schema = 2").encode(), "schema"),
        (lambda text: _without(text, "[[checks]]", "[chat]").encode(), "chat.checks"),
        (lambda text: _without(text, "[completion]", "stop").encode(), "stop"),
        (lambda text: ("sha256 = 'x'\n" + text).encode(), "`sha256` is computed"),
        (lambda text: b"", "is empty; fill it in"),
    ],
    ids=[
        "utf-16",
        "bom",
        "no-expectation",
        "no-keys",
        "big5",
        "cut-character",
        "toml",
        "id",
        "unknown-key",
        "kind",
        "own-kind",
        "no-list",
        "schema",
        "no-checks",
        "misplaced",
        "sha256",
        "empty",
    ],
)
def test_a_broken_prompt_gets_one_message(folder, damage, message):
    file = folder / "zh_marker.toml"
    file.write_bytes(damage(file.read_text(encoding="utf-8")))
    with pytest.raises(PromptError) as caught:
        load_prompt("zh_marker", str(folder))
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_gets_one_message(folder):
    (folder / "odd.toml").mkdir()
    with pytest.raises(PromptError, match="is a directory; expected a TOML file"):
        load_prompt("odd", str(folder))
