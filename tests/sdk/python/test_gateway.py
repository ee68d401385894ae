"""What the SDKs do not show: bytes, keys and refusals, over plain HTTP."""

import json

import pytest

from stand import ADMIN_TOKEN, CALLER_KEY, PROVIDER_KEY, WRONG_PROVIDER_KEY, ask, until

# Path and header fields of one request in each dialect.
OPENAI = ("/v1/chat/completions", {"Authorization": f"Bearer {CALLER_KEY}", "Content-Type": "application/json"})
ANTHROPIC = (
    "/v1/messages",
    {"x-api-key": CALLER_KEY, "anthropic-version": "2023-06-01", "Content-Type": "application/json"},
)
DIALECTS = pytest.mark.parametrize(("path", "fields"), [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])

# What a parser that builds a tree would not give back: order, doubled keys, number formats, escapes, unknown fields.
ODD_BODY = (
    b'{ "zeta":1.0,"model" : "lab-echo", "n":1e2 ,"big":123456789012345678901234567890, "twice":1,"twice":2,\n'
    b'\t"max_tokens": 10, "esc":"\\u00e9\\/\\ud83d\\ude00", "raw":"\xc3\xa9", "future": {"b":[],"a":null},\r\n'
    b' "messages":[{"role":"user","content":"odd"}] }\n'
)


def raw_fields(last):
    """The header fields of a request as /lab/last shows them, as one text."""
    return json.dumps(last["headers"])


@DIALECTS
def test_an_odd_body_goes_up_byte_for_byte(stand, path, fields):
    status, _, _ = ask(stand.address, "POST", path, fields, ODD_BODY)
    assert status == 200
    assert stand.lab.last()["body"].encode() == ODD_BODY


@DIALECTS
def test_only_the_models_name_changes_when_it_has_another_name_there(stand, path, fields):
    status, _, _ = ask(stand.address, "POST", path, fields, ODD_BODY.replace(b'"lab-echo"', b'"renamed"'))
    assert status == 200
    assert stand.lab.last()["body"].encode() == ODD_BODY


@DIALECTS
def test_the_callers_key_stays_here_and_the_providers_goes_up(stand, path, fields):
    ask(stand.address, "POST", path, fields, ODD_BODY)
    sent = raw_fields(stand.lab.last())
    assert CALLER_KEY not in sent
    assert PROVIDER_KEY in sent


@DIALECTS
def test_a_providers_key_is_not_shown_even_if_the_provider_repeats_it(stand, path, fields):
    body = json.dumps({"model": "wrong-credential", "max_tokens": 10, "messages": [{"role": "user", "content": "?"}]})
    status, head, reply = ask(stand.address, "POST", path, fields, body)
    assert status == 401
    assert WRONG_PROVIDER_KEY not in reply.decode() + json.dumps(head)
    assert json.loads(reply)["error"]["message"]
    # The provider did repeat it, or this test shows nothing.
    direct = {**fields, "Authorization": f"Bearer {WRONG_PROVIDER_KEY}", "x-api-key": WRONG_PROVIDER_KEY}
    assert WRONG_PROVIDER_KEY in ask(stand.failing.address, "POST", path, direct, ODD_BODY)[2].decode()


# The heartbeat of each dialect; the stand sends one after 300 ms of silence.
HEARTBEATS = {OPENAI[0]: b": keep-alive\n\n", ANTHROPIC[0]: b'event: ping\ndata: {"type": "ping"}\n\n'}


def streamed(model):
    return json.dumps(
        {"model": model, "stream": True, "max_tokens": 100, "messages": [{"role": "user", "content": "ebb and flow"}]}
    )


def provider_fields(fields):
    return {**fields, "Authorization": f"Bearer {PROVIDER_KEY}", "x-api-key": PROVIDER_KEY}


@DIALECTS
@pytest.mark.parametrize("model", ["lab-echo", "lab-think", "lab-tokens-2000"])
def test_a_stream_comes_down_byte_for_byte(stand, path, fields, model):
    status, head, through = ask(stand.address, "POST", path, fields, streamed(model))
    direct = ask(stand.lab.address, "POST", path, provider_fields(fields), streamed(model))[2]
    assert (status, head["content-type"].split(";")[0]) == (200, "text/event-stream")
    assert through == direct


@DIALECTS
def test_heartbeats_stand_between_events_and_change_nothing_else(stand, path, fields):
    slowly = {"x-lab-interval-ms": "700"}
    through = ask(stand.address, "POST", path, {**fields, **slowly}, streamed("lab-tokens-3"))[2]
    direct = ask(stand.lab.address, "POST", path, provider_fields(fields), streamed("lab-tokens-3"))[2]
    beat = HEARTBEATS[path]
    assert through.count(beat) - direct.count(beat) >= 2
    assert through.replace(beat, b"") == direct.replace(beat, b"")


BROKEN = {
    "cut off": b'{"model": "lab-echo", "messages": [',
    "trailing comma": b'{"model": "lab-echo", "messages": [],}',
    "an array": b'["lab-echo"]',
    "no JSON": b"model=lab-echo",
    "empty": b"",
    "model is a number": b'{"model": 4, "messages": []}',
    "not UTF-8": b'{"model": "lab-echo", "messages": ["\xff"]}',
}


@DIALECTS
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_malformed_json_is_the_callers_400_in_its_dialect(stand, path, fields, body):
    before = stand.lab.stats()["requests"]
    status, head, reply = ask(stand.address, "POST", path, fields, body)
    error = json.loads(reply)
    assert status == 400
    assert head["content-type"].startswith("application/json")
    assert error["error"]["type"] == "invalid_request_error" and error["error"]["message"]
    assert (error.get("type") == "error") == (path == ANTHROPIC[0])
    assert stand.lab.stats()["requests"] == before


@DIALECTS
def test_without_a_key_nothing_goes_up(stand, path, fields):
    before = stand.lab.stats()["requests"]
    without = {name: value for name, value in fields.items() if name not in ("Authorization", "x-api-key")}
    status, _, reply = ask(stand.address, "POST", path, without, ODD_BODY)
    assert (status, json.loads(reply)["error"]["type"]) in (
        (401, "authentication_error"),
        (401, "invalid_request_error"),
    )
    assert stand.lab.stats()["requests"] == before


@DIALECTS
def test_models_that_are_written_out_are_listed_and_patterns_are_not(stand, path, fields):
    status, _, reply = ask(stand.address, "GET", "/v1/models", fields)
    names = [model["id"] for model in json.loads(reply)["data"]]
    assert status == 200
    assert {"lab-echo", "renamed", "wrong-credential"} <= set(names)
    assert not [name for name in names if "*" in name]


def test_health_and_status_need_no_key(stand):
    status, _, health = ask(stand.address, "GET", "/health")
    assert (status, json.loads(health)["status"]) == (200, "ok")
    status, _, body = ask(stand.address, "GET", "/status")
    assert status == 200
    assert {
        "current_connections",
        "max_connections",
        "memory_usage_mb",
        "memory_limit_mb",
        "total_requests",
        "error_count",
    } <= set(json.loads(body))


def test_the_admin_listener_wants_its_token_and_masks_secrets(stand):
    assert ask(stand.admin, "GET", "/metrics")[0] == 401
    assert ask(stand.admin, "GET", "/api/v1/config", {"Authorization": "Bearer wrong-token-000000"})[0] == 401
    token = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    status, _, metrics = ask(stand.admin, "GET", "/metrics", token)
    assert status == 200 and b"tidegate_" in metrics
    status, _, config = ask(stand.admin, "GET", "/api/v1/config", token)
    assert status == 200 and set(json.loads(config)["config"]["providers"]) >= {"lab", "lab-claude"}
    for secret in (CALLER_KEY, PROVIDER_KEY, WRONG_PROVIDER_KEY, ADMIN_TOKEN):
        assert secret not in config.decode() + metrics.decode()


def test_every_exchange_has_been_given_back(stand):
    """Runs last in this file: whatever failed before, nothing is still counted as in flight."""
    until(lambda: json.loads(ask(stand.address, "GET", "/status")[2])["current_connections"] == 0, "none in flight")
    until(lambda: stand.lab.stats()["open"] == 0 and stand.failing.stats()["open"] == 0, "none open at the provider")
