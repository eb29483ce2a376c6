"""Bad overlays and catalogs, generated: each gives one message with file, key and the nearest valid name, and nothing else."""

import os
import shutil
import tempfile
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.bad_catalog import DGX, check_message, new_place
from support.places import DATA

from fixtures.catalog.errors import CatalogError
from fixtures.catalog.load import load_claims, load_host, load_lanes, load_requirements

NOBODY = 65534


@pytest.fixture
def place(tmp_path, monkeypatch):
    return new_place(tmp_path, monkeypatch)


def cases(file):
    entries = tomllib.loads((DATA / file).read_text(encoding="utf-8"))["case"]
    named = {entry["name"]: entry for entry in entries}
    assert len(named) == len(entries)
    return named


HOST_FILES = cases("bad_host_files.toml")
OVERLAYS = cases("bad_overlays.toml")

# name -> (what the overlay's bytes are, what the message says)
BYTES = {
    "byte-order mark": (b"\xef\xbb\xbf[launch]\ncontext = 1024\n", "starts with a byte-order mark; save it as UTF-8 without one"),
    "UTF-16": ("[launch]\ncontext = 1024\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "Latin-1": (b'# ok\ntitle = "caf\xe9"\n', "line 2: is not UTF-8"),
    "binary": (b"GGUF\x03\x00\x00\x00" + bytes(64), "is not valid TOML"),
    "Windows line ends and an unknown key": (b"[launch]\r\n\r\ncontxt = 5\r\n", "line 3: `launch.contxt`"),
    "empty": (b"", "is empty; fill it in, or remove it"),
    "blank": (b"\r\n \t\n", "is empty; fill it in, or remove it"),
    "huge": (b"#" * (1 << 20) + b"\n", "is larger than 1 MiB"),
    "nested without end": (b"x = " + b"[" * 5000 + b"]" * 5000, "nested"),
    "a number without end": (b"[launch]\ncontext = " + b"9" * 5000, "is not valid TOML"),
}


@pytest.mark.parametrize("case", HOST_FILES)
def test_bad_host_file(place, case):
    place.replace("hosts/dgx.toml", HOST_FILES[case]["old"], HOST_FILES[case]["new"])
    with pytest.raises(CatalogError) as caught:
        place.load()
    check_message(caught.value, str(place.catalog / "hosts/dgx.toml"), HOST_FILES[case]["said"])


def test_a_host_without_candidates(place):
    place.replace("hosts/dgx.toml", DGX[DGX.index("[[candidates]]") : DGX.index("# Rows beside")], "")
    with pytest.raises(CatalogError) as caught:
        place.load()
    check_message(caught.value, "`candidates` is missing")


@pytest.mark.parametrize("case", OVERLAYS)
def test_bad_overlay(place, case):
    place.overlay.write_text(OVERLAYS[case]["text"], encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        place.load()
    check_message(caught.value, str(place.overlay), OVERLAYS[case]["said"])


@pytest.mark.parametrize("case", BYTES)
def test_bad_bytes(place, case):
    content, said = BYTES[case]
    place.overlay.write_bytes(content)
    with pytest.raises(CatalogError) as caught:
        place.load()
    check_message(caught.value, str(place.overlay), said)


def _loop(file):
    file.with_name("other.toml").symlink_to(file)
    file.symlink_to(file.with_name("other.toml"))


NO_FILE = {
    "directory": (Path.mkdir, "is a directory"),
    "path loop": (_loop, "is a loop of symbolic links"),
    "dangling link": (lambda file: file.symlink_to("/nowhere/else.toml"), "is a dangling symbolic link to /nowhere/else.toml"),
    "pipe": (os.mkfifo, "is a named pipe (FIFO); expected a TOML file"),
    "device": (lambda file: file.symlink_to("/dev/zero"), "is a device; expected a TOML file"),
}


@pytest.mark.parametrize("case", NO_FILE)
@pytest.mark.parametrize("kind", ["overlay", "host"])
def test_no_usable_file(place, case, kind):
    make, said = NO_FILE[case]
    file = place.overlay if kind == "overlay" else place.catalog / "hosts/dgx.toml"
    file.unlink(missing_ok=True)
    make(file)
    with pytest.raises(CatalogError) as caught:
        place.load()
    check_message(caught.value, str(file), said)


@contextmanager
def normal_user():
    """Root may read everything: act as nobody meanwhile. A normal user is one already."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_no_permission(locked, monkeypatch, request):
    root = Path(tempfile.mkdtemp())  # tmp_path lies in a folder that is closed to other users
    request.addfinalizer(lambda: shutil.rmtree(root))
    root.chmod(0o755)
    place = new_place(root, monkeypatch)
    place.overlay.write_text("[launch]\ncontext = 1024\n", encoding="utf-8")
    assert place.load().launch.context == 1024
    blocked = place.overlay if locked == "file" else place.overlay.parent
    blocked.chmod(0)
    try:
        with normal_user(), pytest.raises(CatalogError) as caught:
            place.load()
    finally:
        blocked.chmod(0o755)
    check_message(caught.value, str(place.overlay), "may not be read by uid")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dxg", 'has no host "dxg"; did you mean `dgx`? Valid: dgx, dgx-rehearsal, local, twins.'),
        ("", 'has no host ""'),
        ("DGX", 'has no host "DGX"; '),
        ("./gone.toml", "gone.toml: does not exist"),
        ("~/gone/host.toml", "gone/host.toml: does not exist"),
        ("hosts/", "is a directory"),
        ("/dev/null/x.toml", "does not exist"),
        ("./" + "x" * 300 + ".toml", "cannot be read (File name too long)"),
        ("./a\0b.toml", "is not a file name"),
    ],
)
def test_bad_host_name(place, name, said, monkeypatch):
    monkeypatch.chdir(place.catalog)
    with pytest.raises(CatalogError) as caught:
        load_host(name, catalog=place.catalog)
    check_message(caught.value, said)


@pytest.mark.parametrize(
    ("file", "old", "new", "load", "said"),
    [
        ("lanes.toml", 'k = "t3"', 'k = "t33"', load_lanes, '`lanes.k3v3.k` is "t33", which is not a role; did you mean `t3`?'),
        ("lanes.toml", "bpw = 3.125", "bpw = 0", load_lanes, "`roles.t3.bpw` is 0; expected more than 0"),
        ("lanes.toml", 'types = ["f16"]', "types = []", load_lanes, "`roles.f16.types` is empty"),
        ("lanes.toml", "bpw = 16.0, ", "", load_lanes, "`roles.f16.bpw` is missing"),
        (
            "requirements/audit.toml",
            'id = "AUD-2"',
            'id = "AUD-1"',
            load_requirements,
            '`requirement.AUD-1.id` is "AUD-1", which an earlier entry has',
        ),
        (
            "requirements/audit.toml",
            'id = "audit"',
            'id = "audits"',
            load_requirements,
            'is "audits"; a family is called like its file, "audit"',
        ),
        ("requirements/kv.toml", "order = 80", "order = 70", load_requirements, "is 70, which KV-2 has"),
        ("requirements/kv.toml", "order = 80", "order = 10", load_requirements, "is 10, which AUD-1 has"),
        ("requirements/kv.toml", 'id = "KV-3"', 'id = "AUD-3"', load_requirements, "which an earlier entry has"),
        ("requirements/ppl.toml", 'limit = "ppl"', "", load_requirements, "stands without a `limit`"),
        ("requirements/coherence.toml", 'needs = ["prompts"]', 'needs = ["prompt"]', load_requirements, "did you mean `prompts`?"),
        ("requirements/audit.toml", 'arm = "none"', 'arm = "nona"', load_requirements, "did you mean `none`?"),
        ("claims.toml", 'unit = "MiB"', 'unit = "MB"', load_claims, 'unit` is "MB"; did you mean `MiB`?'),
        ("claims.toml", 'lane = "k3v4"', 'lane = "k4v3"', load_claims, '"k4v3", which is not a lane; did you mean `k'),
        ("claims.toml", 'id = "31b-k3v4-8k"', 'id = "31b-k3v3-8k"', load_claims, "which an earlier entry has"),
    ],
)
def test_bad_lanes_requirements_and_claims(place, file, old, new, load, said):
    place.replace(file, old, new)
    with pytest.raises(CatalogError) as caught:
        load(place.catalog)
    check_message(caught.value, str(place.catalog / file), said)


@pytest.mark.parametrize("name", ["31b", "26b", "12b", "e4b", "e2b"])
@pytest.mark.parametrize("where", ['id = "smollm2-135m-q8"', "[models.smollm2-135m]", 'id = "local"'])
def test_a_stand_in_never_looks_like_the_dgx(place, name, where):
    named = where.replace("smollm2-135m", f"smollm2-{name}").replace("local", f"local-{name}")
    place.replace("hosts/local.toml", where, named)
    if "models" in where:
        text = (place.catalog / "hosts/local.toml").read_text(encoding="utf-8")
        renamed = text.replace("smollm2-135m", f"smollm2-{name}").replace(f'model = "smollm2-{name}" }}', 'model = "smollm2-135m" }')
        (place.catalog / "hosts/local.toml").write_text(renamed, encoding="utf-8")
    own = place.catalog / "own.toml"  # outside hosts/, where a host need not be called like its file
    shutil.copy(place.catalog / "hosts/local.toml", own)
    with pytest.raises(CatalogError) as caught:
        load_host(str(own), catalog=place.catalog)
    check_message(caught.value, f'names on a stand-in host must not contain "{name}"')


def test_there_are_more_than_forty():
    assert len(HOST_FILES) + len(OVERLAYS) + len(BYTES) + 2 * len(NO_FILE) > 100
