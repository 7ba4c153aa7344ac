"""Clients and one backend in one thread, a step at a time, so that weir meets the same events every time."""
import contextlib, os, select, signal, socket, time
from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\nWeb Application [1]\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SILENCE = 30


class Wire:
    def __init__(self):
        self.listener = socket.socket()
        # Every address of 127.0.0.0/8 is a peer, and nobody else's.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        self.listener.bind(("0.0.0.0", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.clients = []
        self.weir = None
        self.peers = {}
        self.exchanged = 0
        self.poller = select.poll()
        self.poller.register(self.listener, select.POLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for open_socket in [self.listener, *self.clients, *self.peers.values()]:
            open_socket.close()

    def connect(self, weir, port, clients):
        """The clients' connections to a process."""
        self.weir = weir
        for _ in range(clients):
            client = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.poller.register(client, select.POLLIN)
            self.clients.append(client)

    def exchange(self, requests, count):
        """So many requests. Several clients ask at once, and are answered at once."""
        for i in range(0, count, len(self.clients)):
            with self.at_once():
                for client in self.clients:
                    client.sendall(requests[i % len(requests)])
            asked = [self.receive_request() for _ in self.clients]
            with self.at_once():
                for peer in asked:
                    peer.sendall(ANSWER)
            for client in self.clients:
                self.receive_answer(client)

    def switch(self, request):
        """Asks for another protocol. The connection on which the backend has agreed."""
        self.clients[0].sendall(request)
        peer = self.receive_request()
        peer.sendall(SWITCH)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.some(self.clients[0])
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(f"not the backend's agreement: {answer!r}")
        return peer

    def talk(self, message, peer, count):
        """The message there and back so many times."""
        for _ in range(count):
            for speaker, listener in ((self.clients[0], peer), (peer, self.clients[0])):
                speaker.sendall(message)
                heard = b""
                while len(heard) < len(message):
                    heard += self.some(listener)

    @contextlib.contextmanager
    def at_once(self):
        """What is sent in here weir sees all together: it is stopped meanwhile, if there is more than one client."""
        if len(self.clients) == 1:
            yield
            return
        os.kill(self.weir, signal.SIGSTOP)
        try:
            until = time.monotonic() + SILENCE
            while not all(is_stopped(task) for task in Path(f"/proc/{self.weir}/task").iterdir()):
                if time.monotonic() > until:
                    raise RuntimeError("weir does not stop")
                time.sleep(0)
            yield
        finally:
            os.kill(self.weir, signal.SIGCONT)

    def receive_answer(self, client):
        answer = b""
        while not answer.endswith(ANSWER[-20:]):
            answer += self.some(client)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"not the backend's answer: {answer!r}")
        self.exchanged += 1

    def receive_request(self):
        """The connection on which the next whole request came."""
        while True:
            events = self.poller.poll(SILENCE * 1000)
            if not events:
                raise RuntimeError(f"after {self.exchanged} requests none at the backend for {SILENCE} s")
            for descriptor, _ in events:
                if descriptor == self.listener.fileno():
                    self.accept()
                elif descriptor not in self.peers:
                    client = next(client for client in self.clients if client.fileno() == descriptor)
                    raise RuntimeError(f"weir answered without the backend: {client.recv(65536)!r}")
                elif received := self.peers[descriptor].recv(65536):
                    self.rest_of(self.peers[descriptor], received)
                    return self.peers[descriptor]
                else:
                    self.poller.unregister(descriptor)
                    self.peers.pop(descriptor).close()

    def accept(self):
        connection, _ = self.listener.accept()
        connection.settimeout(SILENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers[connection.fileno()] = connection
        self.poller.register(connection, select.POLLIN)

    def rest_of(self, connection, received):
        while b"\r\n\r\n" not in received:
            received += self.some(connection)
        head, _, body = received.partition(b"\r\n\r\n")
        length = next((int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n")
                       if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            body += self.some(connection)

    def some(self, connection):
        received = connection.recv(65536)
        if not received:
            raise EOFError("weir closed the connection")
        return received


def is_stopped(task):
    return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
