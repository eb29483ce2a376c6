"""Engines that are nearly the real one: copies of its folder with other bytes."""

import os
import shutil

from support.planting import server

_BUILT = b"0c1e57098bba+tbq"


def copied(folder):
    """The real engine's programs and libraries in a folder of one's own."""
    return shutil.copytree(server().parent, folder, symlinks=True)


def fork(folder, **renamed):
    """An engine that nobody has seen before: a commit of its own, and KV types under other names of the same length."""
    commit = os.urandom(6).hex().encode()
    names = {old.encode(): new.encode() for old, new in renamed.items()} | {
        _BUILT: commit + _BUILT[len(commit) :].replace(b"+tbq", b"-own")
    }
    for file in copied(folder).iterdir():
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            for old, new in names.items():
                assert len(old) == len(new)
                content = content.replace(old, new)
            file.write_bytes(content)
    return folder


def as_engine(folder, commit=""):
    """The `[engine]` keys of a host file."""
    return f'path = "{folder}"' + (f'\ncommit = "{commit}"' if commit else "")
