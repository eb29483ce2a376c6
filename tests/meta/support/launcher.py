"""A launcher in place of llama-server that does one thing otherwise: arguments, environment, log output, answers, death.

    engine = write_launcher(tmp_path / "engine", server, Faults(only="other.gguf", flags={"-ctk": "q4_0"}))

Probes (--help, --version) pass through. The process becomes the real server, so that its pid, /proc and socket are as they would
be; with `rule`, `die` or `late` a child of it is a FaultProxy on its port, and it listens on another one.
"""

import ctypes
import dataclasses
import json
import os
import re
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # run isolated, as the engine: only the standard library and this folder
    from fault_proxy import FaultProxy, Rule
else:
    from support.fault_proxy import FaultProxy, Rule

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Death:
    """How and when the server dies: at its n-th request whose path begins with `path`, by `by`, after it has said `says`."""

    request: int
    path: str = "/completion"
    by: int = signal.SIGABRT
    says: tuple = ()


@dataclass(frozen=True)
class Faults:
    """What the launcher does otherwise, for launches with `only` in their command line.

    `flags`: flag -> other value; "" adds a flag without value, None removes flag and value. `env`: variables to set, or with None to drop.
    `log`: (regular expression, replacement), applied to each line of the output. `says`: lines before the server's own.
    `ends`: with that signal after `says`, in place of the server. `instead`: a program that runs in place of the server.
    `rule`: how answers are falsified. `late`: (path, number, line) to say at the request of that number whose path begins so.
    """

    only: str = ""
    flags: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    log: tuple = ()
    says: tuple = ()
    ends: int | None = None
    instead: tuple = ()
    rule: Rule | None = None
    die: Death | None = None
    late: tuple = ()


def write_launcher(folder, server, *faults):
    """Write the launcher `folder`/llama-server for the real `server`; returns the `[engine]` keys of a host file.

    Of several `faults` the first that is meant for a launch is planted.
    """
    folder.mkdir(parents=True)
    config = folder / "faults.json"
    config.write_text(json.dumps({"server": str(server), "faults": [dataclasses.asdict(fault) for fault in faults]}))
    script = folder / "llama-server"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{config}" "$@"\n')
    script.chmod(0o755)
    return f'path = "{folder}"\ncommit = "0c1e57098bba"'


def _read(config):
    given = json.loads(Path(config).read_text())
    return given["server"], [_faults(**fault) for fault in given["faults"]]


def _faults(*, rule, die, **others):
    return Faults(**others, rule=Rule(**rule) if rule else None, die=Death(**die) if die else None)


def _edited(argv, flags):
    argv = list(argv)
    for flag, value in flags.items():
        if flag in argv:
            at = argv.index(flag)
            argv[at : at + 2] = [] if value is None else [flag, value]
        elif value is not None:
            argv += [flag, value] if value else [flag]
    return argv


def _say(*lines):
    for line in lines:
        os.write(1, f"{line}\n".encode())


def _filtered(edits):
    """From here on, what this process and its children write is edited line by line. The filter is a child, so that we stay who we are."""
    read, write = os.pipe()
    if os.fork():
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(read)
        os.close(write)
        return
    os.close(write)
    with os.fdopen(read, errors="replace") as lines:
        for line in lines:
            for pattern, replacement in edits:
                line = re.sub(pattern, replacement, line)  # noqa: PLW2901 - edit after edit
            _say(line.rstrip("\n"))
    os._exit(0)


def _starts(path, faults):
    """The beginnings of paths that something waits for, and that this path has."""
    waited = [start for start, _, _ in faults.late] + ([faults.die.path] if faults.die else [])
    return [start for start in waited if path.startswith(start)]


def _in_front(argv, faults):
    """Let a child answer on the server's port - passing on, falsifying, killing - and return the command of a server on another one.

    The socket stays ours, too: whoever looks finds the server's own process on its port, with its own command line but for the port.
    """
    at = argv.index("--port") + 1
    inner = str(int(argv[at]) + 6000)
    listener = socket.create_server(("127.0.0.1", int(argv[at])))
    listener.set_inheritable(True)
    server = os.getpid()
    if not os.fork():
        _answer(listener, int(inner), server, faults)
    listener.detach()  # open for as long as the server lives
    return [*argv[:at], inner, *argv[at + 1 :]]


def _answer(listener, inner, server, faults):
    """Stand before the server of that pid until it is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    seen = []

    def on_request(path):
        seen.append(path)
        nth = {start: sum(earlier.startswith(start) for earlier in seen) for start in _starts(path, faults)}
        _say(*(line for start, number, line in faults.late if nth.get(start) == number))
        if faults.die and nth.get(faults.die.path) == faults.die.request:
            _say(*faults.die.says)
            os.kill(server, faults.die.by)
            threading.Event().wait()  # as the server's own: its connection closes when it is gone

    with FaultProxy(inner, listener, faults.rule, on_request):
        threading.Event().wait()


def main():
    """Be the server, with its faults."""
    config, *argv = sys.argv[1:]
    server, planted = _read(config)
    probe = {"--help", "--version"} & set(argv)
    faults = next((fault for fault in planted if fault.only in " ".join(argv) and not probe), None)
    if faults is None:
        os.execv(server, [server, *argv])  # noqa: S606 - no shell is the point
    if faults.log:
        _filtered(faults.log)
    _say(*faults.says)
    if faults.ends is not None:
        os.kill(os.getpid(), faults.ends)
    if faults.instead:
        os.execvp(faults.instead[0], faults.instead)  # noqa: S606 - no shell is the point
    for name, value in faults.env.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    argv = _edited(argv, faults.flags)
    if faults.rule or faults.die or faults.late:
        argv = _in_front(argv, faults)
    os.execv(server, [server, *argv])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
