"""The process that stands for a fork of a server; it imports next to nothing (see `__init__`).

Usage: python -IS stand_in.py REAL SOCKET ... with the real Python, the server's address, and what
`python` is asked for.
"""

import marshal
import os
import signal
import socket
import sys

HANDED_ON = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGUSR1, signal.SIGUSR2),
)


def main(real: str, address: str, *words: str) -> None:
    """Stand for a fork of the server at an address, or become a real Python."""
    asked, flags = list(words), set()
    while asked[:1] in (["-u"], ["-B"]):
        flags.add(asked.pop(0))
    if asked[:1] not in (["-m"], ["-c"]):
        os.execv(real, [real, *words])
    files = open_files()
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    server = socket.socket(socket.AF_UNIX)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)  # until the server knows whom to signal
    ignored = [int(each) for each in HANDED_ON if signal.getsignal(each) == signal.SIG_IGN]
    for number in set(HANDED_ON).difference(ignored):
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    server.connect(address)
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes longer than all else here
    # -m or -c with what follows; what this process has and is
    order = marshal.dumps((asked, "-u" in flags, files, ignored, folder, dict(os.environb)))
    socket.send_fds(server, [len(order).to_bytes(4)], [network, *files])
    server.sendall(order)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    answer = server.recv(8)
    if not answer:
        sys.exit(f"the server at {address} has ended: see `log` beside it")
    code = int.from_bytes(answer, signed=True)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def open_files() -> list[int]:
    """Return the numbers of this process's open files."""
    with os.scandir("/proc/self/fd") as folder:
        numbers = [int(entry.name) for entry in folder]
    found = []
    for number in numbers:
        try:
            os.fstat(number)
        except OSError:  # the folder itself, closed by now
            continue
        found.append(number)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
