"""An audit of a backup: this suite's own or one that its owner made by hand; each thing that is wrong with it is told."""

import json
import shutil

import pytest
from support.legacy import PORT, UNIT, Legacy

from fixtures.deploy.backed_up import BackupFault, open_backup
from fixtures.deploy.backup_check import check_backup, copy_differences
from fixtures.records.backup import FILES, MANIFEST


@pytest.fixture
def legacy(tmp_path):
    return Legacy(tmp_path)


def checked(legacy, place, port=PORT):
    return check_backup(open_backup(place, UNIT, legacy.units), "user", port)


def writable(folder):
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder


def edit_manifest(folder, change):
    file = writable(folder) / MANIFEST
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def test_a_backup_of_this_suite_is_sound(legacy):
    found = checked(legacy, legacy.backup())
    assert (found.faults, found.hidden) == ([], [])
    assert found.served.files == (str(legacy.program), str(legacy.model))
    assert found.served.port == PORT


def test_what_the_backup_says_counts_and_not_what_lies_here_now(legacy):
    place = legacy.backup()
    legacy.change()
    legacy.script.unlink()
    legacy.common.write_text("MODEL=/elsewhere\n")
    found = checked(legacy, place)
    assert (found.faults, found.hidden) == ([], [])
    assert found.served.model == str(legacy.model)


def test_an_owners_folder_without_manifest_is_read_by_what_lies_in_it(legacy):
    place = legacy.owners_backup()
    (place / f"{UNIT}.d").mkdir()
    shutil.copy(legacy.dropin, place / f"{UNIT}.d")
    found = checked(legacy, place)
    assert (found.faults, found.hidden) == ([], [])
    assert {copy.target for copy in found.backup.files} == set(
        map(str, (legacy.unit, legacy.dropin, legacy.script, legacy.common, legacy.env))
    )


def test_the_program_has_vanished(legacy):
    """What happened to the report's owner: the fork's build folder was gone."""
    place = legacy.owners_backup()
    legacy.program.unlink()
    (fault,) = checked(legacy, place).faults
    assert fault == f"{legacy.program}, which the backed-up unit starts, is not on this machine"


def test_the_model_has_vanished(legacy):
    place = legacy.backup()
    legacy.model.unlink()
    (fault,) = checked(legacy, place).faults
    assert fault == f"{legacy.model}, which the backed-up unit serves, is not on this machine"


@pytest.mark.parametrize("name", ["run.sh", "common.sh", "legacy.env"])
def test_something_that_the_unit_needs_was_not_backed_up(legacy, name):
    place = legacy.owners_backup(*(file for file in (legacy.unit, legacy.script, legacy.common, legacy.env) if file.name != name))
    faults = checked(legacy, place).faults
    assert any("the backup lacks" in fault and name in fault for fault in faults), faults


def test_another_port_than_the_fallbacks(legacy):
    (fault,) = checked(legacy, legacy.backup(), 8080).faults
    assert fault == f"the backed-up unit serves port {PORT}, the fallback answers on 8080"


def test_a_copy_that_was_changed_after_it_was_taken(legacy):
    place = writable(legacy.backup())
    (place / FILES / str(legacy.script).lstrip("/")).write_text("#!/bin/sh\nrm -rf x\n")
    assert "is not what the manifest says: it was changed after it was taken" in checked(legacy, place).faults[0]


def test_a_copy_that_is_gone_and_one_too_many(legacy):
    place = writable(legacy.backup())
    copy = place / FILES / str(legacy.env).lstrip("/")
    copy.rename(copy.with_name("other.env"))
    faults = checked(legacy, place).faults
    assert f"the copy of {legacy.env} is not there" in faults
    copy.with_name("other.env").rename(copy)
    copy.with_name("more").write_text("x")
    assert any("more is not in the manifest" in fault for fault in checked(legacy, place).faults)


def test_a_copy_behind_a_link_is_none(legacy):
    place = writable(legacy.backup())
    copy = place / FILES / str(legacy.env).lstrip("/")
    shutil.move(copy.parent, legacy.folder / "moved")
    copy.parent.symlink_to(legacy.folder / "moved")
    assert f"the copy of {legacy.env} lies behind a link" in checked(legacy, place).faults


def test_a_manifest_may_not_lead_out_of_its_folder(legacy):
    place = legacy.backup()
    edit_manifest(place, lambda data: data["entries"][3].update(path="/../../etc/shadow"))
    assert "the manifest names /../../etc/shadow, which is no plain absolute path" in checked(legacy, place).faults


@pytest.mark.parametrize("where", [0, 1, 500])
def test_a_manifest_that_was_cut_off(legacy, where):
    place = writable(legacy.backup())
    (place / MANIFEST).write_bytes((place / MANIFEST).read_bytes()[:where])
    with pytest.raises(BackupFault, match=r"manifest\.json is damaged .*: take another copy of this backup, or a new one"):
        checked(legacy, place)


def test_a_backup_of_another_unit(legacy):
    place = legacy.backup()
    with pytest.raises(BackupFault, match=r"is of llama-legacy\.service, the fallback is other\.service"):
        open_backup(place, "other.service", legacy.units)


def test_no_such_folder_and_no_unit_in_it(legacy):
    with pytest.raises(BackupFault, match=r"is not there: make one with `./readiness backup DIR`, or correct its path"):
        open_backup(legacy.folder / "nowhere", UNIT, legacy.units)
    with pytest.raises(BackupFault, match=rf"holds no {UNIT}: was it taken of this fallback"):
        open_backup(legacy.folder / "state", UNIT, legacy.units)


def test_two_units_in_it(legacy):
    place = legacy.owners_backup()
    (place / "old").mkdir()
    shutil.copy(legacy.unit, place / "old")
    with pytest.raises(BackupFault, match=rf"holds 2 units {UNIT} \(.*\): name the right one with --source"):
        open_backup(place, UNIT, legacy.units)
    assert checked(legacy, place / UNIT).backup.unit.source == place / UNIT


def test_a_unit_file_that_is_named_itself_takes_the_rest_from_where_it_lies(legacy):
    other = legacy.file(f"elsewhere/{UNIT}", legacy.unit.read_text())
    assert checked(legacy, other).faults == []
    legacy.env.unlink()
    assert checked(legacy, other).faults == [f"the backup lacks {legacy.env} (environment), which the unit needs"]


def test_a_unit_that_starts_nothing(legacy):
    place = legacy.owners_backup()
    (place / UNIT).write_text("[Service]\nType=simple\n")
    (fault,) = checked(legacy, place).faults
    assert "the backed-up unit cannot be read as one" in fault
    assert "no ExecStart=" in fault


def test_what_is_hidden_is_no_fault_and_no_pass(legacy):
    place = legacy.owners_backup(legacy.unit, legacy.common, legacy.env)
    shutil.copy(legacy.script, place)
    (place / "run.sh").write_text(f"#!/bin/sh\nif true; then exec {legacy.program}; fi\n")
    found = checked(legacy, place)
    assert found.faults == []
    assert "holds more than is read here" in found.hidden[0]


def test_a_model_that_is_named_by_no_file_is_hidden(legacy):
    place = legacy.owners_backup()
    (place / UNIT).write_text(f"[Service]\nExecStart={legacy.program} -hf some/model --port {PORT}\n")
    found = checked(legacy, place)
    assert found.faults == []
    assert "names no --model" in found.hidden[0]


def test_the_local_copy_agrees_file_by_file(legacy):
    place, local = legacy.backup(), legacy.folder / "local"
    shutil.copytree(place, local, symlinks=True)
    assert copy_differences(place, local) == []
    writable(local)
    (local / FILES / str(legacy.env).lstrip("/")).write_text("changed")
    (local / FILES / str(legacy.script).lstrip("/")).unlink()
    (local / "more").write_text("x")
    said = copy_differences(place, local)
    assert len(said) == 3
    assert any(each.startswith("the local copy lacks") and each.endswith("run.sh") for each in said)
    assert "the local copy has more, which the backup lacks" in said
    assert any(each.endswith("legacy.env differs between backup and local copy") for each in said)
