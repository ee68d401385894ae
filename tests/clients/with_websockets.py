"""The `websockets` library on both ends of the gateway: messages, pings, close codes, many connections, a reload."""

import asyncio
import http
import os
import ssl
import threading
import types

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from certificates import Authority
from programs import equal, free_port, until

MIB = 1 << 20
SECONDS = 40
TOGETHER = 200


class Server:
    """A WebSocket server on a thread of its own; how each connection ended is in `ended`."""

    def __init__(self, port):
        self.name, self.ended, self.paths = "websockets", [], []
        self._loop = asyncio.new_event_loop()
        self._stopped = self._loop.create_future()
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run(port, started)), daemon=True)
        self._thread.start()
        assert started.wait(SECONDS), "the WebSocket server does not start"

    async def _run(self, port, started):
        def guard(connection, request):
            if request.path == "/ws/refused":
                return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
            return None

        def subprotocol(_, offered):
            return "chat.v2" if "chat.v2" in offered else None

        # More connections than any check opens at once wait to be accepted.
        async with serve(self._serve, "127.0.0.1", port, process_request=guard, select_subprotocol=subprotocol,
                         max_size=4 * MIB, ping_interval=None, backlog=TOGETHER * 2):
            started.set()
            await self._stopped

    async def _serve(self, connection):
        path = connection.request.path
        self.paths.append(path)
        try:
            if path == "/ws/leave":
                await connection.close(4002, "enough of you")
            elif path == "/ws/ping":
                await asyncio.wait_for(await connection.ping(b"are you there"), SECONDS)
                await connection.send("the pong came")
            elif path == "/ws/drop":
                connection.transport.abort()
            else:
                async for message in connection:
                    await connection.send(message)
        except websockets.ConnectionClosed:
            pass
        await connection.wait_closed()
        self.ended.append((path, connection.close_code, connection.close_reason))

    def end_of(self, path):
        """How the connections to a path ended, once one has."""
        return until(lambda: [(code, why) for found, code, why in self.ended if found == path], f"the end of {path}")

    def stop(self):
        self._loop.call_soon_threadsafe(self._stopped.set_result, None)
        self._thread.join(SECONDS)
        return 0


def prepare(programs):
    stand = types.SimpleNamespace(programs=programs, plain=free_port(), tls=free_port())
    authority = Authority(programs.folder, "authority")
    certificate, key = authority.sign("localhost")
    stand.trust = ssl.create_default_context(cafile=authority.file)
    origin = free_port()
    stand.server = programs.add(Server(origin))
    lab = programs.lab()
    stand.configuration = f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}
upstreams:
  server: {{ endpoints: ["http://127.0.0.1:{origin}"] }}
  lab: {{ endpoints: ["http://127.0.0.1:{lab}"] }}
routes:
  - {{ path: /ws, upstream: server }}
  - {{ path: /lab/, upstream: lab, rewrite: {{ prefix: / }} }}
"""
    stand.gateway = programs.gateway(stand.configuration)
    return stand


def dial(stand, path, secure, **more):
    more = {"max_size": 4 * MIB, "open_timeout": SECONDS, "ping_interval": None, "proxy": None, **more}
    if secure:
        return connect(f"wss://localhost:{stand.tls}{path}", ssl=stand.trust, host="127.0.0.1", **more)
    return connect(f"ws://127.0.0.1:{stand.plain}{path}", **more)


def on_both(stand, talk):
    """Runs `talk(secure)` over ws:// and wss://."""
    for secure in (False, True):
        asyncio.run(asyncio.wait_for(talk(secure), SECONDS))


def echoes_messages_of_all_kinds(stand):
    big = os.urandom(MIB)

    async def talk(secure):
        for compression in ("deflate", None):
            async with dial(stand, "/ws", secure, compression=compression) as connection:
                for message in ("text ✓", "", b"\x00\xff binary", b"", big, big.hex()[:MIB], ["in ", "three ", "frames"]):
                    await connection.send(message)
                    wanted = "".join(message) if isinstance(message, list) else message
                    assert await connection.recv() == wanted, "another message came back"

    on_both(stand, talk)


def echoes_through_the_lab(stand):
    async def talk(secure):
        async with dial(stand, "/lab/ws", secure) as connection:
            for message in ("text", b"binary", os.urandom(MIB // 2)):
                await connection.send(message)
                assert await connection.recv() == message, "another message came back"

    on_both(stand, talk)


def agrees_on_a_subprotocol(stand):
    async def talk(secure):
        async with dial(stand, "/ws", secure, subprotocols=["chat.v1", "chat.v2"]) as connection:
            equal(connection.subprotocol, "chat.v2", "subprotocol")

    on_both(stand, talk)


def pings_are_answered_by_the_other_end(stand):
    async def talk(secure):
        async with dial(stand, "/ws/ping", secure) as connection:
            equal(await connection.recv(), "the pong came", "message after the server's ping")
        async with dial(stand, "/ws", secure) as connection:
            await asyncio.wait_for(await connection.ping(b"x" * 125), SECONDS)

    on_both(stand, talk)


def the_callers_close_code_arrives(stand):
    async def talk(secure):
        path = f"/ws/closed-by-caller-{secure}"
        async with dial(stand, path, secure) as connection:
            await connection.close(4001, "see you")
            equal((connection.close_code, connection.close_reason), (4001, "see you"), "echoed close")
        equal(stand.server.end_of(path), [(4001, "see you")], "close as the server saw it")

    on_both(stand, talk)


def the_servers_close_code_arrives(stand):
    async def talk(secure):
        async with dial(stand, "/ws/leave", secure) as connection:
            try:
                await connection.recv()
                raise AssertionError("a message came")
            except websockets.ConnectionClosed:
                equal((connection.close_code, connection.close_reason), (4002, "enough of you"), "close")

    on_both(stand, talk)


def a_server_that_breaks_off_is_no_clean_close(stand):
    async def talk(secure):
        async with dial(stand, "/ws/drop", secure) as connection:
            try:
                await connection.recv()
                raise AssertionError("a message came")
            except websockets.ConnectionClosed:
                equal(connection.close_code, 1006, "close code")

    on_both(stand, talk)


def a_caller_that_breaks_off_is_noticed(stand):
    async def talk(secure):
        path = f"/ws/broken-off-{secure}"
        async with dial(stand, path, secure) as connection:
            await connection.send("x")
            await connection.recv()
            connection.transport.abort()
        equal(stand.server.end_of(path), [(1006, "")], "close as the server saw it")

    on_both(stand, talk)


def a_refused_handshake_is_the_servers_to_explain(stand):
    async def talk(secure):
        try:
            async with dial(stand, "/ws/refused", secure):
                raise AssertionError("the handshake was not refused")
        except websockets.InvalidStatus as refused:
            equal((refused.response.status_code, refused.response.body), (403, b"not you\n"), "refusal")

    on_both(stand, talk)


def many_connections_echo_at_once(stand):
    async def one(secure, number, all_open):
        async with dial(stand, "/ws", secure) as connection:
            await all_open.wait()
            for turn in range(5):
                message = f"{number} {turn} " + "x" * 2000
                await connection.send(message)
                equal(await connection.recv(), message, "message")

    async def talk(secure):
        all_open = asyncio.Barrier(TOGETHER)
        async with asyncio.TaskGroup() as together:
            for number in range(TOGETHER):
                together.create_task(one(secure, number, all_open))

    on_both(stand, talk)


def a_reload_in_the_middle_loses_nothing(stand):
    async def one(secure, number, turns):
        async with dial(stand, "/ws", secure) as connection:
            turn = 0
            while turn < 20 or not turns.is_set():
                message = f"{number} {turn}"
                await connection.send(message)
                equal(await connection.recv(), message, "message")
                turn += 1
            return turn

    async def talk(secure):
        reloaded = asyncio.Event()
        # Even the route of the connections is gone for a moment.
        without = stand.configuration.replace("{ path: /ws, upstream: server }", "{ path: /other, upstream: server }")
        assert without != stand.configuration
        async with asyncio.TaskGroup() as together:
            for number in range(50):
                together.create_task(one(secure, number, reloaded))
            await asyncio.to_thread(until, lambda: stand.gateway.metric("tidegate_websockets_open") == 50, "50 connections")
            for text in (without, stand.configuration):
                await asyncio.to_thread(stand.gateway.reload, text)
            reloaded.set()

    on_both(stand, talk)


def nothing_is_held_afterwards(stand):
    stand.gateway.at_rest()
