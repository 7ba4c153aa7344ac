"""One client and one backend in one thread, a step at a time, so that weir meets the same order of events every time."""
import select, socket

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\nWeb Application [1]\n"
SILENCE = 30


class Wire:
    def __init__(self):
        self.listener = socket.socket()
        # Every address of 127.0.0.0/8 is a peer, and nobody else's.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        self.listener.bind(("0.0.0.0", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.client = None
        self.peers = {}
        self.exchanged = 0
        self.poller = select.poll()
        self.poller.register(self.listener, select.POLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for open_socket in [self.listener, self.client, *self.peers.values()]:
            if open_socket:
                open_socket.close()

    def connect(self, port):
        """The one client's connection."""
        self.client = socket.create_connection(("127.0.0.1", port), timeout=SILENCE)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.poller.register(self.client, select.POLLIN)

    def exchange(self, requests, count):
        for i in range(count):
            self.client.sendall(requests[i % len(requests)])
            self.receive_request().sendall(ANSWER)
            answer = b""
            while not answer.endswith(ANSWER[-20:]):
                answer += self.some(self.client)
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
                elif descriptor == self.client.fileno():
                    raise RuntimeError(f"weir answered without the backend: {self.client.recv(65536)!r}")
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
