"""slowhttptest against the gateway: whoever is slow holds up nobody else, and goes in the end."""

import concurrent.futures
import http.client
import threading
import types

from programs import equal, free_port, until

CONNECTIONS = 200
SECONDS = 15
MODES = {
    # Heads that never end, a field a second.
    "headers": ["-H", "-i", "1", "-x", "24"],
    # Bodies of 100 KB, a few bytes every 5 s: more than the pause that a body may make.
    "body": ["-B", "-i", "5", "-s", "100000", "-x", "10"],
    # 5 bytes a second of 1 MiB, through a window of a few bytes.
    "read": ["-X", "-w", "1", "-y", "8", "-n", "1", "-z", "5", "-k", "3"],
    # A thousand overlapping ranges.
    "range": ["-R", "-i", "1", "-a", "10", "-b", "1010", "-t", "GET"],
}


def prepare(programs):
    stand = types.SimpleNamespace(programs=programs, ports={mode: free_port() for mode in MODES})
    lab, files = programs.lab(), free_port()
    (programs.folder / "page").write_bytes(b"x" * (1 << 20))
    programs.nginx(f"server {{ listen 127.0.0.1:{files}; root {programs.folder}; }}", files)
    listeners = "".join(f"  - bind: 127.0.0.1:{port}\n" for port in stand.ports.values())
    stand.gateway = programs.gateway(f"""\
listeners:
{listeners}timeouts: {{ head: 3s, body: 3s, keep_alive: 3s, write_stall: 3s, request: 8s, stream: 8s }}
upstreams:
  lab: {{ endpoints: ["http://127.0.0.1:{lab}"] }}
  files: {{ endpoints: ["http://127.0.0.1:{files}"] }}
routes: [{{ path: /, upstream: lab }}, {{ path: /page, upstream: files }}]
""")
    stand.files_before = stand.gateway.files()
    return stand


def attack(stand, mode):
    """Runs one mode to its end; what slowhttptest says."""
    path = {"read": "/big", "range": "/page", "headers": "/small", "body": "/echo"}[mode]
    url = f"http://127.0.0.1:{stand.ports[mode]}{path}"
    command = ["slowhttptest", *MODES[mode], "-c", CONNECTIONS, "-r", 100, "-l", SECONDS, "-p", 3, "-u", url]
    return stand.programs.run(command, seconds=SECONDS + 30, code=None)


def ask(stand, mode):
    """A normal request to a listener under attack."""
    connection = http.client.HTTPConnection("127.0.0.1", stand.ports[mode], timeout=5)
    try:
        connection.request("GET", "/small")
        reply = connection.getresponse()
        return reply.status, len(reply.read())
    finally:
        connection.close()


def the_service_stays_available_in_every_mode(stand):
    """All modes at once; a normal request goes in between as long as one of them runs."""
    done = threading.Event()
    wrong, asked = [], 0
    with concurrent.futures.ThreadPoolExecutor(len(MODES)) as pool:
        running = {mode: pool.submit(attack, stand, mode) for mode in MODES}
        try:
            until(lambda: stand.gateway.metric("tidegate_connections") > CONNECTIONS, "the attack has begun")
            while not all(future.done() for future in running.values()):
                for mode in MODES:
                    found = ask(stand, mode)
                    asked += 1
                    if found != (200, 1024):
                        wrong.append((mode, found))
                done.wait(0.2)
        finally:
            said = {mode: future.result() for mode, future in running.items()}
    equal(wrong, [], f"normal requests of {asked} that went wrong")
    for mode, text in said.items():
        assert "service available" in text, f"{mode}: {text[-2000:]}"
        assert "\x1b[1;31mNO" not in text and not any(
            "service available" in line and "NO" in line for line in text.splitlines()), f"{mode}: {text[-3000:]}"
        assert "Exit status" in text, f"{mode}: {text[-2000:]}"


def the_slow_are_refused_for_being_slow(stand):
    for reason in ("head_timeout", "body_timeout", "write_stall"):
        count = stand.gateway.metric("tidegate_ended_total", reason=reason)
        assert count >= CONNECTIONS, f"{reason} ended {count:.0f} exchanges, not {CONNECTIONS}"


def all_connections_are_gone_at_the_end(stand):
    stand.gateway.at_rest()
    # Connections to endpoints may wait for their next use; 3 s of keep-alive end at the latest what callers left.
    until(
        lambda: stand.gateway.files() <= stand.files_before + stand.gateway.metric("tidegate_pool_idle_connections"),
        f"not more files than the {stand.files_before} before and the connection pool's",
    )
