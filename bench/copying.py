"""The reference for raw tensors: two processes that do nothing but copy a body's bytes.

`python -m bench.copying` is the first: it reads a body from TCP and passes it on over a Unix socket
to the second, which reads it and answers with a byte; then the caller is answered. It prints its
address.
"""

import socket
import subprocess
import sys
import threading

PIECE_BYTES = 256 << 10  # what front-ends and runner read at once
BUFFER_BYTES = 1 << 20  # what their sockets hold
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LENGTH = b"content-length:"


def relay() -> None:
    """Serve on a port that the kernel chooses."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    descriptor = str(far.fileno())
    command = [sys.executable, "-m", "bench.copying", descriptor]
    with subprocess.Popen(command, pass_fds=[far.fileno()]):
        far.close()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        line = threading.Lock()
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=_serve, args=(caller, near, line), daemon=True).start()


def _serve(caller: socket.socket, runner: socket.socket, line: threading.Lock) -> None:
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            try:
                piece = caller.recv(PIECE_BYTES)
            except ConnectionResetError:
                return  # That is how wrk ends.
            if not piece:
                return
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        missing = _length(head)
        with line:
            runner.sendall(missing.to_bytes(8, "little"))
            while True:
                runner.sendall(body)
                missing -= len(body)
                if not missing:
                    break
                body = caller.recv(min(missing, PIECE_BYTES))
                if not body:
                    return
            runner.recv(1)
        caller.sendall(ANSWER)
        received = b""


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return int(next(line for line in lines if line.startswith(LENGTH)).partition(b":")[2])


def sink(runner: socket.socket) -> None:
    """Read bodies and answer each with a byte, until the other side has gone."""
    while size := runner.recv(8, socket.MSG_WAITALL):
        missing = int.from_bytes(size, "little")
        while missing and (piece := runner.recv(min(missing, PIECE_BYTES))):
            missing -= len(piece)
        if missing:
            return
        runner.sendall(b"\0")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sink(socket.socket(fileno=int(sys.argv[1])))
    else:
        relay()
