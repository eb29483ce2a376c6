"""A launcher in place of llama-server that does one thing otherwise: arguments, environment, log output, answers, death.

    engine = write_launcher(tmp_path / "engine", Faults(only="other.gguf", flags={"-ctk": "q4_0"}))    # `[engine]` keys of a host file

Probes (--help, --version) pass through. Without `rule` and `die` the process becomes the real server, so that its pid, /proc and
socket are as they would be. With one of them it stays in front of the server as a FaultProxy on its port; then /proc shows the
launcher, and the gates that compare its command line (DEP-2, DEP-3) are not for such a run.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # run isolated, as the engine: only the standard library and this folder
    from fault_proxy import FaultProxy, Rule
else:
    from support.fault_proxy import FaultProxy, Rule


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

    `flags`: flag -> other value; "" adds a flag without value, None removes flag and value. `env`: variables to set.
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


def write_launcher(folder, faults, server):
    """Write the launcher `folder`/llama-server for the real `server`; returns the `[engine]` keys of a host file."""
    folder.mkdir(parents=True)
    config = folder / "faults.json"
    config.write_text(json.dumps({"server": str(server), **dataclasses.asdict(faults)}))
    script = folder / "llama-server"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{config}" "$@"\n')
    script.chmod(0o755)
    return f'path = "{folder}"\ncommit = "0c1e57098bba"'


def _read(config):
    given = json.loads(Path(config).read_text())
    server = given.pop("server")
    rule, die = given.pop("rule"), given.pop("die")
    return server, Faults(**given, rule=Rule(**rule) if rule else None, die=Death(**die) if die else None)


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


def _in_front(server, argv, faults):
    """Start the server on another port, and answer on its own: passing on, falsifying, dying."""
    at = argv.index("--port") + 1
    port, inner = int(argv[at]), int(argv[at]) + 20000
    child = subprocess.Popen([server, *argv[:at], str(inner), *argv[at + 1 :]])
    seen = []

    def on_request(path):
        seen.append(path)
        nth = {start: sum(earlier.startswith(start) for earlier in seen) for start in _starts(path, faults)}
        _say(*(line for start, number, line in faults.late if nth.get(start) == number))
        if faults.die and nth.get(faults.die.path) == faults.die.request:
            _say(*faults.die.says)
            child.kill()
            os.kill(os.getpid(), faults.die.by)

    def stop(*_):
        child.terminate()

    signal.signal(signal.SIGTERM, stop)
    with FaultProxy(inner, port, faults.rule, on_request):
        ended = threading.Event()
        threading.Thread(target=lambda: (child.wait(), ended.set()), daemon=True).start()
        while not ended.wait(0.2):
            pass
    sys.exit(max(child.returncode, 0))


def main():
    """Be the server, with its faults."""
    config, *argv = sys.argv[1:]
    server, faults = _read(config)
    planted = not {"--help", "--version"} & set(argv) and faults.only in " ".join(argv)
    if not planted:
        os.execv(server, [server, *argv])  # noqa: S606 - no shell is the point
    if faults.log:
        _filtered(faults.log)
    _say(*faults.says)
    if faults.ends is not None:
        os.kill(os.getpid(), faults.ends)
    if faults.instead:
        os.execvp(faults.instead[0], faults.instead)  # noqa: S606 - no shell is the point
    os.environ.update(faults.env)
    argv = _edited(argv, faults.flags)
    if faults.rule or faults.die or faults.late:
        _in_front(server, argv, faults)
    os.execv(server, [server, *argv])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
