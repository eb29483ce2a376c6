"""Engines that are nearly the real one: copies of its folder with other bytes."""

import os
import shutil

from support.planting import server

_BUILT = b"0c1e57098bba+tbq"


def copied(folder):
    """The real engine's programs and libraries in a folder of one's own."""
    return shutil.copytree(server().parent, folder, symlinks=True)


def fork(folder, **renamed):
    """An engine that nobody has seen before, as `[engine]` keys: a commit of its own, and other texts of the same length.

    A name counts where it is a text by itself: as part of a symbol it stands in tables of hashes.
    """
    commit = os.urandom(6).hex()
    texts = {(old if " " in old else f"\0{old}\0").encode(): (new if " " in old else f"\0{new}\0").encode() for old, new in renamed.items()}
    texts |= {_BUILT: commit.encode() + b"-own"}
    for file in copied(folder).iterdir():
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            for old, new in texts.items():
                assert len(old) == len(new)
                content = content.replace(old, new)
            file.write_bytes(content)
    return as_engine(folder, commit)


def as_engine(folder, commit="0c1e57098bba"):
    """The `[engine]` keys of a host file."""
    return f'path = "{folder}"\ncommit = "{commit}"'
