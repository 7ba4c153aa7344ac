"""What the programs in Python share: a weir of their own, and checks that print a line each."""

import contextlib
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(sys.argv[0]).stem


def check(what, expected, got):
    """The first check that fails ends the program."""
    if got != expected:
        raise SystemExit(f"{PROGRAM}: {what}: {expected!r:.200} was expected, not {got!r:.200}")
    print(f"{PROGRAM}: {what}", flush=True)


def wait_until(what, holds, seconds=20):
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            raise SystemExit(f"{PROGRAM}: {what} did not come about within {seconds} s")
        time.sleep(0.05)
    return value


class Weir:
    def __init__(self, folder):
        self.folder = folder

    def log(self):
        return (self.folder / "weir.log").read_text()

    def port(self, url):
        """Where it listens, of what begins so."""
        return int(wait_until(f"listening on {url}", lambda: re.search(f"listening on {url}:(\\d+)", self.log()))[1])

    def tls(self):
        """What trusts its certificate, which is that of example.test."""
        return ssl.create_default_context(cafile=self.folder / "weir.pem")


@contextlib.contextmanager
def weir(toml):
    """weir with this configuration, or the one that `toml` makes of its folder, in which weir.pem and weir.key are already.
    Its log is shown if something fails."""
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "target/debug/weir").resolve()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as open_files:
        folder = pathlib.Path(name)
        # An authority's certificate is none that a server may show to weir.
        pair = ["-keyout", folder / "weir.key", "-out", folder / "weir.pem"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60"]
            + ["-subj", "/CN=example.test", "-addext", "subjectAltName=DNS:example.test"]
            + ["-addext", "basicConstraints=critical,CA:FALSE", *pair],
            check=True,
            capture_output=True,
        )
        (folder / "upstream.toml").write_text((toml(folder) if callable(toml) else toml) + '[admin]\nlisten = "off"\n')
        out = open_files.enter_context(open(folder / "access.log", "wb"))
        log = open_files.enter_context(open(folder / "weir.log", "wb"))
        process = subprocess.Popen([binary, "run", "-c", folder / "upstream.toml"], stdout=out, stderr=log)
        running = Weir(folder)
        try:
            yield running
        except BaseException:
            print(f"--- weir's log\n{running.log()}", file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
