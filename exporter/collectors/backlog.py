"""Connections to the serving port that the kernel holds and nobody has accepted.

The kernel is asked by address over NETLINK_SOCK_DIAG (sock_diag(7)): holding the listening socket
itself would let connections into a queue that nobody serves once the server has closed it.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from exporter.collectors.base import family_of
from exporter.view import MergedFamily, View

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
TCP_LISTEN = 10
ANSWER_TIMEOUT_SECONDS = 1.0
RECEIVE_BYTES = 1 << 16

MESSAGE_HEAD = struct.Struct("=IHHII")
# struct inet_diag_req_v2: family, protocol, extensions, padding, states, then an unused socket id.
REQUEST = struct.Struct("=BBBBI48x")
# struct inet_diag_msg: family, state, timer, retransmits; ports (big-endian), addresses; …; rqueue.
ANSWER_PORT = struct.Struct(">H")
ANSWER_PORT_OFFSET = 4
ANSWER_ADDRESS_OFFSET = 8
ANSWER_RECEIVE_QUEUE = struct.Struct("=I")
ANSWER_RECEIVE_QUEUE_OFFSET = 56


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket as the kernel describes it."""

    address: str
    port: int
    accept_queue: int


class BacklogCollector:
    """Reads the accept queues of the serving addresses."""

    names: tuple[str, ...] = ("inferometer_listen_backlog_connections",)

    def __init__(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Take (IP address, port) pairs."""
        self._addresses = {(str(ipaddress.ip_address(host)), port) for host, port in addresses}

    def collect(self, view: View) -> Iterable[MergedFamily]:  # noqa: ARG002
        """Yield the queues' total; nothing when no such socket listens."""
        queues = [
            listener.accept_queue
            for family in {_family(host) for host, _ in self._addresses}
            for listener in _listeners(family)
            if (listener.address, listener.port) in self._addresses
        ]
        if not queues:
            return []
        backlog = family_of("inferometer_listen_backlog_connections")
        backlog.add([], sum(queues))
        return [backlog]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _listeners(family: socket.AddressFamily) -> Iterator[Listener]:
    body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN)
    head = MESSAGE_HEAD.pack(
        MESSAGE_HEAD.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(ANSWER_TIMEOUT_SECONDS)
        netlink.send(head + body)
        while True:
            data = netlink.recv(RECEIVE_BYTES)
            position = 0
            while position + MESSAGE_HEAD.size <= len(data):
                length, kind, *_ = MESSAGE_HEAD.unpack_from(data, position)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR or length < MESSAGE_HEAD.size:
                    raise OSError("the kernel refuses NETLINK_SOCK_DIAG")
                yield _listener(data[position + MESSAGE_HEAD.size : position + length], family)
                position += -(-length // 4) * 4


def _listener(message: bytes, family: socket.AddressFamily) -> Listener:
    (port,) = ANSWER_PORT.unpack_from(message, ANSWER_PORT_OFFSET)
    size = 4 if family == socket.AF_INET else 16
    address = message[ANSWER_ADDRESS_OFFSET : ANSWER_ADDRESS_OFFSET + size]
    (queue,) = ANSWER_RECEIVE_QUEUE.unpack_from(message, ANSWER_RECEIVE_QUEUE_OFFSET)
    return Listener(str(ipaddress.ip_address(address)), port, queue)
