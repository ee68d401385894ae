"""gRPC on both ends of the gateway: all four kinds of calls, errors with trailers, deadlines, cancelling, many at once.

Messages are bytes: no code is generated. The stubs and handlers are gRPC's generic ones.
"""

import concurrent.futures
import os
import queue
import threading
import time
import types

import grpc

from certificates import Authority
from programs import equal, free_port, until

MIB = 1 << 20
SECONDS = 20
BIG = [("grpc.max_receive_message_length", 8 * MIB), ("grpc.max_send_message_length", 8 * MIB)]

# What the details of an error may hold: gRPC percent-encodes them in a trailer.
DETAILS = "nö luck: 100 % of\nit ✓"
BINARY = bytes(range(256))


class Service(grpc.GenericRpcHandler):
    """The server's side. `cancelled` counts calls that ended before their time."""

    def __init__(self):
        self.seen, self.cancelled, self.waiting = [], queue.Queue(), queue.Queue()

    def service(self, call):
        self.seen.append(call)
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "WaitStream": grpc.unary_stream_rpc_method_handler(self.wait_stream),
        }
        return kinds.get(call.method.rpartition("/")[2])

    def unary(self, message, context):
        context.send_initial_metadata((("x-early", "before the message"), ("early-bin", BINARY)))
        context.set_trailing_metadata((("x-late", "after the message"), ("late-bin", BINARY[::-1])))
        return message[::-1]

    def down(self, message, context):
        for number in range(int(message)):
            yield b"%d " % number + b"x" * 1000

    def up(self, messages, context):
        return b"%d" % sum(len(message) for message in messages)

    def both(self, messages, context):
        for message in messages:
            yield message

    def fail(self, message, context):
        context.set_trailing_metadata((("x-why", "told"), ("why-bin", BINARY)))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, DETAILS)

    def fail_late(self, message, context):
        yield b"one"
        yield b"two"
        context.set_trailing_metadata((("x-why", "told late"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, DETAILS)

    def wait(self, message, context):
        over = threading.Event()
        context.add_callback(over.set)
        self.waiting.put(message)
        # Ends when the call does: nothing else sets it.
        if over.wait(SECONDS):
            self.cancelled.put(message)
        return b"too late"

    def wait_stream(self, message, context):
        yield b"first"
        yield self.wait(message, context)


def prepare(programs):
    ports = ("plain", "tls", "backend", "tls_backend", "nobody")
    stand = types.SimpleNamespace(programs=programs, **{name: free_port() for name in ports})
    authority = Authority(programs.folder, "authority")
    certificate, key = authority.sign("localhost")
    stand.service = Service()
    stand.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=BIG)
    stand.server.add_generic_rpc_handlers((stand.service,))
    stand.server.add_insecure_port(f"127.0.0.1:{stand.backend}")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    stand.server.add_secure_port(f"127.0.0.1:{stand.tls_backend}", credentials)
    stand.server.start()
    programs.add(types.SimpleNamespace(name="grpc", stop=lambda: stand.server.stop(0).wait(SECONDS)))
    stand.gateway = programs.gateway(f"""\
listeners:
  - bind: 127.0.0.1:{stand.plain}
  - {{ bind: "127.0.0.1:{stand.tls}", tls: [{{ cert: {certificate}, key: {key} }}] }}
upstreams:
  server: {{ endpoints: ["http://127.0.0.1:{stand.backend}"], protocol: http2 }}
  secure: {{ endpoints: ["https://localhost:{stand.tls_backend}"], protocol: http2, ca_file: {authority.file} }}
  nobody: {{ endpoints: ["http://127.0.0.1:{stand.nobody}"], protocol: http2 }}
routes:
  - {{ path: /test.Plain/, upstream: server }}
  - {{ path: /test.Secure/, upstream: secure }}
  - {{ path: /test.Nobody/, upstream: nobody }}
""")
    trust = grpc.ssl_channel_credentials(authority.file.read_bytes())
    stand.channels = {
        "h2c": lambda more=(): grpc.insecure_channel(f"127.0.0.1:{stand.plain}", options=[*BIG, *more]),
        "TLS": lambda more=(): grpc.secure_channel(f"localhost:{stand.tls}", trust, options=[*BIG, *more]),
    }
    return stand


def on_all(stand, talk):
    """Runs `talk(channel, service)` through both listeners, to the server without TLS and with it."""
    for name, channel in stand.channels.items():
        for service in ("Plain", "Secure"):
            with channel() as opened:
                try:
                    talk(opened, f"/test.{service}/")
                except grpc.RpcError as error:
                    raise AssertionError(f"{name} listener, {service} server: {error.code()}: {error.details()}") from error
                except AssertionError as error:
                    raise AssertionError(f"{name} listener, {service} server: {error}") from error


def failure_of(call):
    """The error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call did not fail")


def unary_calls_carry_messages_and_metadata(stand):
    def talk(channel, service):
        call = channel.unary_unary(service + "Unary")
        message = os.urandom(3 * MIB)
        sent = (("x-text", "plain"), ("x-twice", "1"), ("x-twice", "2"), ("trace-bin", BINARY))
        reply, done = call.with_call(message, timeout=SECONDS, metadata=sent)
        assert reply == message[::-1], "another message came back"
        early, late = done.initial_metadata(), done.trailing_metadata()
        assert ("x-early", "before the message") in early and ("early-bin", BINARY) in early, early
        assert ("x-late", "after the message") in late and ("late-bin", BINARY[::-1]) in late, late
        seen = [(name, value) for name, value in stand.service.seen[-1].invocation_metadata if (name, value) in sent]
        equal(sorted(seen, key=str), sorted(sent, key=str), "metadata as the server saw it")
        equal(call(b"", timeout=SECONDS), b"", "empty message")

    on_all(stand, talk)


def servers_stream(stand):
    def talk(channel, service):
        found = list(channel.unary_stream(service + "Down")(b"2000", timeout=SECONDS))
        equal([int(message.split()[0]) for message in found], list(range(2000)), "messages")

    on_all(stand, talk)


def clients_stream(stand):
    def talk(channel, service):
        reply = channel.stream_unary(service + "Up")((b"x" * 1000 for _ in range(2000)), timeout=SECONDS)
        equal(reply, b"2000000", "bytes that the server got")

    on_all(stand, talk)


def both_sides_take_turns(stand):
    def talk(channel, service):
        outgoing = queue.Queue()
        replies = channel.stream_stream(service + "Both")(iter(outgoing.get, None), timeout=SECONDS)
        for number in range(100):
            # The next message leaves only when the reply to the last one is here: nothing on the way may hold one back.
            outgoing.put(b"turn %d" % number)
            equal(next(replies), b"turn %d" % number, "reply")
        outgoing.put(None)
        equal(list(replies), [], "messages behind the end")

    on_all(stand, talk)


def errors_carry_status_details_and_trailers(stand):
    def talk(channel, service):
        error = failure_of(lambda: channel.unary_unary(service + "Fail")(b"x", timeout=SECONDS))
        equal((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, DETAILS), "error")
        trailers = error.trailing_metadata()
        assert ("x-why", "told") in trailers and ("why-bin", BINARY) in trailers, trailers

    on_all(stand, talk)


def errors_come_after_the_messages_before_them(stand):
    def talk(channel, service):
        replies = channel.unary_stream(service + "FailLate")(b"x", timeout=SECONDS)
        equal([next(replies), next(replies)], [b"one", b"two"], "messages")
        error = failure_of(lambda: next(replies))
        equal((error.code(), error.details()), (grpc.StatusCode.RESOURCE_EXHAUSTED, DETAILS), "error")
        assert ("x-why", "told late") in error.trailing_metadata(), error.trailing_metadata()

    on_all(stand, talk)


def a_method_that_nobody_has_is_unimplemented(stand):
    def talk(channel, service):
        # The server says so itself for the first, the gateway has no route for the second.
        for path in (service + "Missing", "/test.Missing/Unary"):
            error = failure_of(lambda path=path: channel.unary_unary(path)(b"x", timeout=SECONDS))
            equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, f"status of {path}")

    on_all(stand, talk)


def a_server_that_is_away_is_unavailable(stand):
    for channel in stand.channels.values():
        with channel() as opened:
            error = failure_of(lambda: opened.unary_unary("/test.Nobody/Unary")(b"x", timeout=SECONDS))
            equal(error.code(), grpc.StatusCode.UNAVAILABLE, "status")


def a_deadline_ends_the_call_on_both_sides(stand):
    def talk(channel, service):
        error = failure_of(lambda: channel.unary_unary(service + "Wait")(b"deadline", timeout=0.5))
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "status")
        equal(stand.service.waiting.get(timeout=SECONDS), b"deadline", "call that the server had")
        equal(stand.service.cancelled.get(timeout=SECONDS), b"deadline", "call that ended at the server")

    on_all(stand, talk)


def cancelling_reaches_the_server(stand):
    def talk(channel, service):
        # Without a deadline: only the cancellation can end it.
        call = channel.unary_unary(service + "Wait").future(b"unary")
        equal(stand.service.waiting.get(timeout=SECONDS), b"unary", "call that the server had")
        call.cancel()
        equal(stand.service.cancelled.get(timeout=SECONDS), b"unary", "call that ended at the server")
        replies = channel.unary_stream(service + "WaitStream")(b"stream")
        equal(next(replies), b"first", "message before the cancellation")
        equal(stand.service.waiting.get(timeout=SECONDS), b"stream", "call that the server had")
        replies.cancel()
        equal(stand.service.cancelled.get(timeout=SECONDS), b"stream", "call that ended at the server")
        # The connection is not harmed.
        equal(channel.unary_unary(service + "Unary")(b"live", timeout=SECONDS), b"evil", "reply afterwards")

    on_all(stand, talk)


def a_channel_that_closes_cancels_its_calls(stand):
    for channel in stand.channels.values():
        with channel() as opened:
            # Kept: a call that nobody holds is cancelled at once.
            held = opened.unary_unary("/test.Plain/Wait").future(b"channel")
            equal(stand.service.waiting.get(timeout=SECONDS), b"channel", "call that the server had")
        equal(stand.service.cancelled.get(timeout=SECONDS), b"channel", "call that ended at the server")
        assert held.done(), "the call goes on"


def compressed_messages_pass(stand):
    def talk(channel, service):
        call = channel.unary_unary(service + "Unary")
        message = b"compresses well " * 10_000
        equal(call(message, timeout=SECONDS, compression=grpc.Compression.Gzip), message[::-1], "reply")

    on_all(stand, talk)


def many_calls_share_a_channel(stand):
    def talk(channel, service):
        call = channel.unary_unary(service + "Unary")
        calls = [(b"call %d " % number * 50, call.future(b"call %d " % number * 50, timeout=SECONDS)) for number in range(500)]
        for message, reply in calls:
            assert reply.result() == message[::-1], "another message came back"

    on_all(stand, talk)


def keepalive_pings_of_clients_are_no_flood(stand):
    """A client that pings as often as gRPC lets it, for as long as a call is silent."""
    before = stand.gateway.metric("tidegate_h2_calmed_total")
    pings = [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_timeout_ms", 1000), ("grpc.http2.max_pings_without_data", 0)]
    for channel in stand.channels.values():
        with channel(pings) as opened:
            replies = opened.unary_stream("/test.Plain/WaitStream")(b"pings")
            equal(next(replies), b"first", "message")
            began = time.monotonic()
            until(lambda: time.monotonic() - began > 3.5, "a few pings have gone")
            equal(opened.unary_unary("/test.Plain/Unary")(b"live", timeout=SECONDS), b"evil", "reply afterwards")
            replies.cancel()
    equal(stand.gateway.metric("tidegate_h2_calmed_total"), before, "connections that were told to be calm")


def nothing_is_held_afterwards(stand):
    stand.gateway.at_rest()
