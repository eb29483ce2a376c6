"""A library that makes a real server leak: so many bytes, touched, at each connection that it accepts."""

import subprocess

_SOURCE = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static char *volatile kept;

static int leaking(int accepted) {
    if (accepted >= 0 && (kept = malloc(LEAK))) memset(kept, 1, LEAK);
    return accepted;
}

int accept(int listener, struct sockaddr *peer, socklen_t *size) {
    int (*real)(int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "accept");
    return leaking(real(listener, peer, size));
}

int accept4(int listener, struct sockaddr *peer, socklen_t *size, int flags) {
    int (*real)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
    return leaking(real(listener, peer, size, flags));
}
"""


def leaking_environment(folder, size):
    """The variables with which a program that is started leaks `size` bytes a connection."""
    source, library = folder / "leak.c", folder / "leak.so"
    source.write_text(_SOURCE)
    subprocess.run(["cc", "-shared", "-fPIC", f"-DLEAK={size}", "-o", str(library), str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
