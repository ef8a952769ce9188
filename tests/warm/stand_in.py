"""The process that stands for a fork of a server; it imports next to nothing (see `__init__`).

REAL and SOCKET, the real Python and the server's address, are set by what runs this.
"""

import marshal
import os
import signal
import socket
import sys

REAL: str
SOCKET: str

HANDED_ON = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    *(signal.SIGUSR1, signal.SIGUSR2),
)


def main(real: str, address: str) -> None:
    words = sys.argv[1:]
    unbuffered = words[:1] == ["-u"]
    asked = words[unbuffered:]
    if asked[:1] not in (["-m"], ["-c"]):
        os.execv(real, [real, *words])
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    files = [int(number) for number in os.listdir("/proc/self/fd")]
    files = [each for each in files if each != network and os.path.exists(f"/proc/self/fd/{each}")]
    server = socket.socket(socket.AF_UNIX)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)  # until the server knows whom to signal
    for number in HANDED_ON:
        signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    server.connect(address)
    order = marshal.dumps((asked, unbuffered, files, os.getcwd(), dict(os.environb)))
    socket.send_fds(server, [len(order).to_bytes(4)], [network, *files])
    server.sendall(order)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    answer = server.recv(8)
    if not answer:
        sys.exit(f"the server of {sys.argv[0]} has ended: see `log` beside it")
    code = int.from_bytes(answer, signed=True)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main(REAL, SOCKET)
