"""The tested engine is an image: the unit that starts this image is READY, one that starts another is not."""

import pytest
from support.engine_copies import as_engine
from support.planted_units import Installer
from support.planting import Host, server

pytestmark = [pytest.mark.runtime, pytest.mark.long]

DIGEST, OTHER = (f"sha256:{letter * 64}" for letter in "ab")
# a podman that runs the command of its image on this machine, as one with the host's network and files would
PODMAN = '#!/bin/sh\nwhile [ "${1#ghcr.io/}" = "$1" ]; do shift; done\nshift\nexec SERVER "$@"\n'
TESTED = '#!/bin/sh\nexec {podman} run --rm --network=host -v /:/ ghcr.io/x/llama@{digest} "$@"\n'


def executable(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("podman")
    executable(folder / "bin" / "podman", PODMAN.replace("SERVER", str(server())))
    executable(folder / "engine" / "llama-server", TESTED.format(podman=folder / "bin" / "podman", digest=DIGEST))
    engine = as_engine(folder / "engine")
    host = Host(folder, 21480, {"right": {}, "another-image": {}}, recipe="path", engine=engine, installed=True)
    installer = Installer(host.write())
    for candidate, digest in (("right", DIGEST), ("another-image", OTHER)):
        podman = f"{folder / 'bin' / 'podman'} run --rm --network=host -v /:/ ghcr.io/x/llama@{digest}"
        installer.install(candidate, {"replace": [["{server}", podman]]})
    return host.run("--signoff")


def test_the_tested_image_is_ready(signed):
    signed.assert_clean("right")


def test_another_image_is_blocked_with_its_digest(signed):
    (found,) = [gate for gate in signed.gates("another-image") if gate[1] != "PASS"]
    assert found[:2] == ("DEP-6", "BLOCKED")
    assert OTHER in found[2]
    assert signed.signoff("another-image") == "INCOMPLETE"
