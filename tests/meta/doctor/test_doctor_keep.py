"""The doctor's file is always a new one: what an owner has edited is never written to, and what is new is told."""

import os

import pytest

from fixtures.doctor.keep import KeepError, keep_new, new_settings

FOUND = """# What the overlay of host dgx has to tell.

#[engine]
#recipe = "path"
#path = "/opt/fork"  # it did not start without

#[guard]
#lock = "/run/lock/a.lock"
"""
EDITED = """# mine
[engine]
recipe = "path"
path = "/opt/fork"
#commit = "abc"
"""


def test_a_new_file_is_written_with_its_folder(tmp_path):
    file = tmp_path / "config" / "dgx.toml"
    assert list(keep_new(FOUND, file)) == [f"wrote {file}: check each setting, then remove the # before it"]
    assert file.read_text() == FOUND


def test_an_edited_overlay_stays_as_it_is_however_often_the_doctor_is_asked(tmp_path):
    file = tmp_path / "dgx.toml"
    file.write_text(EDITED)
    told = list(keep_new(FOUND, file))
    assert told[0] == f"{file} is there and stays as it is; what was found now is in {file}.new"
    assert told[1].endswith("neither on nor off: 1")
    assert told[2].strip() == '[guard] lock = "/run/lock/a.lock"'
    list(keep_new(FOUND, file))
    assert file.read_text() == EDITED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dgx.toml", "dgx.toml.new", "dgx.toml.new2"]


def test_what_is_known_is_not_new():
    assert new_settings(FOUND, FOUND) == []
    assert new_settings(FOUND, EDITED) == ['[guard] lock = "/run/lock/a.lock"']


@pytest.mark.parametrize(
    ("make", "said"),
    [(os.mkfifo, "a named pipe"), (lambda file: file.mkdir(), "a directory"), (lambda file: file.symlink_to("/dev/null"), "a device")],
    ids=["pipe", "folder", "device"],
)
def test_what_is_no_overlay_is_refused(tmp_path, make, said):
    file = tmp_path / "dgx.toml"
    make(file)
    with pytest.raises(KeepError, match=said):
        list(keep_new(FOUND, file))
