"""Reviewed texts: nothing is lost on the way to the file and back, and each gated candidate has exactly one file."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.catalog.compact import compact, expand
from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import host_names, load_host
from fixtures.catalog.owed import deployable
from fixtures.catalog.reviewed import CandidateTexts, Review, load_reviewed, reviewed_file, reviewed_files
from fixtures.catalog.reviewed_text import commands_text, file_text, texts_text

REVIEW = Review(who="Ann", date="2026-11-25", reason='the fork says "no" to -fit')

# few lines, so that texts share, repeat and lose them; and lines that look like the format's own marks
LINES = st.sampled_from(["-c 8192", "-fa on", "-fit off", "-lv 3", "-lv 4", "- -c 8192", "+ -fa on", "  -fa on", "", "unavailable: why"])
ODD_LINES = LINES | st.text(st.sampled_from(list("ab -\"'\\\n\t\r\x01\x7f\u2028é體💾#=[]")), max_size=12)
ARMS = st.sampled_from(["production", "plain", "base", "soak"])
CELLS = st.builds("{} {}".format, ARMS, st.sampled_from(["amesianx", "buun", "thetom", "upstream"]))
MATRICES = st.dictionaries(CELLS, st.lists(ODD_LINES, min_size=1, max_size=8).map(tuple), min_size=1, max_size=16)

SAMPLE = CandidateTexts(
    '[Service]\nExecStart=/ENGINE/llama-server -m "/MODELS/a b.gguf"\nExecStartPost=/bin/sh -c \'\\"x\\"\'\n',
    {
        "production buun": ("unavailable: its turbo3 is another",),
        "production thetom": ("/ENGINE/llama-server", "-c 8192", "-fa on", "-ctk turbo3", "--spec-type mtp"),
        "production upstream": ("/ENGINE/llama-server", "-c 8192", "-fa on", "-fit off", "-ctk turbo3", "--spec-type mtp"),
        "plain buun": ("unavailable: its turbo3 is another",),
        "plain thetom": ("/ENGINE/llama-server", "-c 8192", "-fa on", "-ctk turbo3"),
        "plain upstream": ("/ENGINE/llama-server", "-c 8192", "-fa on", "-fit off", "-ctk turbo3"),
        "soak thetom": ("/ENGINE/llama-server", "-c 8192", "-fa on", "-ctk turbo3", "--spec-type mtp"),
    },
)


@given(MATRICES)
@example({"production buun": ("-fa on",), "plain amesianx": ("-c 8192",), "plain buun": ("-c 8192",)})  # no dialect can, arms differ
def test_a_matrix_survives_as_groups_whatever_its_order(matrix):
    groups = compact(matrix)
    assert expand(groups) == matrix
    assert compact(dict(reversed(matrix.items()))) == groups


@given(st.text(st.sampled_from(list("ab \"\\\n\r\t\x07'é=[#")), max_size=30), MATRICES)
def test_texts_survive_the_file(tmp_path_factory, unit, matrix):
    catalog = tmp_path_factory.getbasetemp() / "catalog"
    file = reviewed_file("host", "candidate", catalog)
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = CandidateTexts(unit, matrix)
    file.write_bytes(file_text(REVIEW, texts).encode())
    assert load_reviewed("host", "candidate", catalog) == (REVIEW, texts)


@given(MATRICES, MATRICES)
def test_equal_text_means_equal_commands(one, other):
    assert (commands_text(one) == commands_text(other)) == (one == other)


def test_the_file_as_a_person_reads_it(snapshot):
    assert file_text(REVIEW, SAMPLE) == snapshot


@pytest.mark.parametrize("host_id", host_names())
def test_a_gated_candidate_of_a_shipped_host_has_one_small_file_and_no_file_is_stale(host_id):
    wanted = {(host_id, candidate.id) for candidate in deployable(load_host(host_id, bare=True))}
    assert {found for found in reviewed_files() if found[0] == host_id} == wanted
    assert {host for host, _ in reviewed_files()} <= set(host_names())
    for _, candidate_id in wanted:
        reviewed = load_reviewed(host_id, candidate_id)
        told, held = (text.count("\n") for text in (texts_text(reviewed.texts), reviewed_file(host_id, candidate_id).read_text("utf-8")))
        assert told <= held < 250


def test_no_file_is_none(tmp_path):
    assert load_reviewed("local", "nobody", tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('like = "production thetom"', 'like = "plain thetom"', 'line 29: `commands[2]` is like "plain thetom", which no earlier group'),
        ('"- --spec-type mtp"', '"- --spec-type"', 'has the difference "- --spec-type", which does not fit "production thetom" there'),
        ('"+ -fit off"', '"-fit off"', 'has the difference "-fit off", which does not fit'),
        ('"buun"], plain', '"buun", "thetom"], plain', 'tells "production thetom" a second time'),
        ("of = { production", "of = { promotion", "promotion"),
        ("schema = 1", "schema = 1\nreviewer = 2", "`reviewer` is not a known key"),
        ('review.date = "2026-11-25"', 'review.date = "today"', "`review.date`"),
        ("[[commands]]", "[[commands", "is not valid TOML"),
    ],
)
def test_a_file_that_tells_nothing_is_refused_by_line_and_key(tmp_path, old, new, says):
    file = reviewed_file("host", "candidate", tmp_path)
    file.parent.mkdir(parents=True)
    text = file_text(REVIEW, SAMPLE)
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(CatalogError, match=re.escape(says)):
        load_reviewed("host", "candidate", tmp_path)
