"""Unit text, environment files and search paths are read as systemd reads them."""

from pathlib import Path

import pytest

from fixtures.deploy.env_file import read_env_file
from fixtures.deploy.parse import parse_unit
from fixtures.deploy.unit_files import find_unit
from fixtures.deploy.unit_text import read_unit_text
from fixtures.deploy.words import split_words


def test_assignments_stand_with_section_and_line():
    found = read_unit_text("# c\n[Unit]\nA=1\n\n[Service]\nB = 2 \\\n; c\n  3\nnonsense\nC=\\\\\n")
    assert [(each.section, each.key, each.value, each.line) for each in found.assignments] == [
        ("Unit", "A", "1", 3),
        ("Service", "B", "2  3", 6),
        ("Service", "C", "\\\\", 10),
    ]
    assert found.ignored == ("nonsense",)


def test_a_byte_order_mark_says_nothing():
    assert parse_unit("\ufeff[Service]\nExecStart=/opt/llama/bin/llama-server --port 8088\n").port == 8088


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ('"blk\\.([0-9]|1[01])\\.ffn_.*_exps\\.=CPU"', "blk\\.([0-9]|1[01])\\.ffn_.*_exps\\.=CPU"),
        ("a\\q", "a\\q"),
        ("a\\ b", "a\\ b"),
        ("a\\x4", "a\\x4"),
        ("a\\x41\\tb", "aA\tb"),
        ("'\\d+'", "\\d+"),
    ],
)
def test_an_unknown_escape_in_a_command_keeps_its_backslash(written, word):
    assert split_words(written, relaxed=True) == [word]
    assert parse_unit(f"[Service]\nExecStart=/a {written}\n").argv == ("/a", word)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nB= two words  \n", {"A": "1", "B": "two words"}),
        ('A=\'x y\'\nB="x \\"y\\" \\$z \\q"\n', {"A": "x y", "B": 'x "y" $z \\q'}),
        ("# A=0\n; A=0\n\n  A = 1\n", {"A": "1"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=x\\\ny\nB=a\\ b\\\\\n", {"A": "xy", "B": "a b\\"}),
        ("A=it's\n", {"A": "it's"}),
        ("A='one\ntwo'\n", {"A": "one\ntwo"}),
        ("A=\"a\" 'b' c\n", {"A": "abc"}),
        ("A=\nB=1", {"A": "", "B": "1"}),
        ("no assignment\nB=$A\r\n", {"B": "$A"}),
        ("\ufeffA=1\n", {"A": "1"}),
    ],
)
def test_an_environment_file(text, variables):
    assert {each.name: each.value for each in read_env_file(text).variables} == variables


def test_what_can_be_no_variable_is_told():
    found = read_env_file("export A=1\nB=2\n")
    assert found.ignored == ("export A",)
    assert [(each.name, each.line) for each in found.variables] == [("B", 2)]


class TestSearch:
    """Files over several folders, most important first."""

    @staticmethod
    def folders(tmp_path, *files):
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[Service]\n")
        return (tmp_path / "etc", tmp_path / "run", tmp_path / "usr")

    def found(self, tmp_path, name, *files):
        folders = self.folders(tmp_path, *files)
        unit = find_unit(name, folders)
        return [str(file.relative_to(tmp_path)) for file in (unit.main, *unit.dropins)]

    def test_the_first_folder_has_the_main_file(self, tmp_path):
        assert self.found(tmp_path, "a.service", "usr/a.service", "run/a.service") == ["run/a.service"]

    def test_dropins_of_every_folder_by_name(self, tmp_path):
        files = ("usr/a.service", "usr/a.service.d/10.conf", "etc/a.service.d/20.conf", "run/a.service.d/15.conf")
        assert self.found(tmp_path, "a.service", *files) == [
            *("usr/a.service", "usr/a.service.d/10.conf", "run/a.service.d/15.conf", "etc/a.service.d/20.conf")
        ]

    def test_of_two_of_one_name_the_more_important_counts(self, tmp_path):
        files = ("usr/a.service", "usr/a.service.d/10.conf", "etc/a.service.d/10.conf", "etc/service.d/10.conf", "usr/service.d/05.conf")
        assert self.found(tmp_path, "a.service", *files) == ["usr/a.service", "usr/service.d/05.conf", "etc/a.service.d/10.conf"]

    def test_prefixes_and_templates(self, tmp_path):
        files = ("usr/l-g@.service", "etc/l-g@.service.d/1.conf", "etc/l-g@x.service.d/2.conf", "etc/l-.service.d/4.conf")
        more = ("etc/l-@.service.d/3.conf", "etc/other.service.d/5.conf", "etc/l-g@x.service.d/not.txt")
        assert self.found(tmp_path, "l-g@x.service", *files, *more) == [
            *("usr/l-g@.service", "etc/l-g@.service.d/1.conf", "etc/l-g@x.service.d/2.conf", "etc/l-@.service.d/3.conf")
        ]

    def test_an_instance_of_its_own_comes_before_the_template(self, tmp_path):
        assert self.found(tmp_path, "g@x.service", "etc/g@.service", "usr/g@x.service") == ["usr/g@x.service"]

    def test_an_alias_has_the_dropins_of_both_names(self, tmp_path):
        folders = self.folders(tmp_path, "usr/real.service", "etc/real.service.d/1.conf", "etc/other.service.d/2.conf")
        (tmp_path / "etc/other.service").symlink_to("../usr/real.service")
        for name in ("other.service", "real.service"):
            unit = find_unit(name, folders)
            assert unit.name.full == "real.service"
            assert [file.name for file in unit.dropins] == ["1.conf", "2.conf"]

    @pytest.mark.parametrize("how", ["link", "empty"])
    def test_masked(self, tmp_path, how):
        folders = self.folders(tmp_path, "usr/a.service", "etc/a.service.d/1.conf")
        masked = tmp_path / "etc/a.service"
        masked.symlink_to("/dev/null") if how == "link" else masked.touch()
        assert find_unit("a.service", folders).masked

    def test_a_void_dropin_stands_for_the_one_that_it_masks(self, tmp_path):
        folders = self.folders(tmp_path, "usr/a.service", "usr/a.service.d/1.conf", "usr/a.service.d/2.conf")
        (tmp_path / "etc/a.service.d").mkdir(parents=True)
        (tmp_path / "etc/a.service.d/1.conf").symlink_to("/dev/null")
        void, other = find_unit("a.service", folders).dropins
        assert (void, other.name) == (tmp_path / "etc/a.service.d/1.conf", "2.conf")
        assert void.read_text() == ""

    def test_a_linked_unit_is_under_its_own_name(self, tmp_path):
        folders = self.folders(tmp_path, "home/a.service", "etc/a.service.d/1.conf")
        (tmp_path / "etc/a.service").symlink_to(tmp_path / "home/a.service")
        assert [file.name for file in find_unit("a.service", folders).dropins] == ["1.conf"]

    def test_none_has_it(self, tmp_path):
        assert find_unit("a.service", (Path(tmp_path),)) is None
