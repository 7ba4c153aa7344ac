"""An application of HTTP/1.1 on a free port, which it prints: GET tells the fields it was asked with, POST gives the body back."""

import http.server


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # the head and the body in one write: apart, each answer waits for a delayed ACK

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer("".join(f"{name.lower()}: {value}\n" for name, value in self.headers.items()).encode())

    def do_POST(self):
        if "Content-Length" in self.headers:
            return self.answer(self.rfile.read(int(self.headers["Content-Length"])))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return self.answer(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Application)
    print(server.server_address[1], flush=True)
    server.serve_forever()
