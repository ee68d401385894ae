"""The official Anthropic SDK, unchanged but for its base URL."""

import anthropic
import httpx2
import pytest

from stand import DIRECT, assert_seen_at_once, milliseconds_until_cancelled

# A 1 × 1 PNG.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "name": "weather",
    "description": "The weather at a place",
    "input_schema": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place"],
    },
}


def says(text):
    return [{"role": "user", "content": text}]


def test_a_message_answers_and_counts(anthropic_client):
    reply = anthropic_client.messages.create(model="lab-echo", max_tokens=100, messages=says("fair winds to you"))
    assert reply.content[0].text == "fair winds to you"
    assert reply.stop_reason == "end_turn"
    assert reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0


def test_a_streamed_message_is_the_same_text(anthropic_client):
    with anthropic_client.messages.stream(model="lab-echo", max_tokens=100, messages=says("fair winds to you")) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "fair winds to you"
    assert final.stop_reason == "end_turn" and final.usage.output_tokens > 0


def test_stream_events_come_in_the_vendors_order(anthropic_client):
    stream = anthropic_client.messages.create(
        model="lab-echo", max_tokens=100, messages=says("fair winds"), stream=True
    )
    kinds = [event.type for event in stream]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


def test_silence_is_bridged_by_pings_that_the_sdk_ignores(anthropic_client):
    with anthropic_client.messages.stream(
        model="lab-tokens-3", max_tokens=100, messages=says("slowly"), extra_headers={"x-lab-interval-ms": "700"}
    ) as stream:
        assert len(list(stream.text_stream)) == 3


def test_tools_are_called(anthropic_client):
    reply = anthropic_client.messages.create(
        model="lab-tools", max_tokens=100, messages=says("how is it?"), tools=[WEATHER]
    )
    call = next(block for block in reply.content if block.type == "tool_use")
    assert reply.stop_reason == "tool_use"
    assert call.name == "weather" and set(call.input) == {"place"}


def test_streamed_tool_input_joins_to_an_object(anthropic_client):
    with anthropic_client.messages.stream(
        model="lab-tools", max_tokens=100, messages=says("how is it?"), tools=[WEATHER]
    ) as stream:
        final = stream.get_final_message()
    call = next(block for block in final.content if block.type == "tool_use")
    assert final.stop_reason == "tool_use"
    assert call.name == "weather" and set(call.input) == {"place"}


def test_a_tool_result_is_accepted(anthropic_client):
    first = anthropic_client.messages.create(
        model="lab-tools", max_tokens=100, messages=says("how is it?"), tools=[WEATHER]
    )
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "wind from the north"}
    reply = anthropic_client.messages.create(
        model="lab-echo",
        max_tokens=100,
        tools=[WEATHER],
        messages=[
            *says("how is it?"),
            {"role": "assistant", "content": [block.to_dict() for block in first.content]},
            {"role": "user", "content": [result, {"type": "text", "text": "and now?"}]},
        ],
    )
    assert reply.content


def test_images_go_in(anthropic_client):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    content = [image, {"type": "text", "text": "what is this"}]
    reply = anthropic_client.messages.create(
        model="lab-echo", max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert "what is this" in reply.content[0].text


def test_thinking_keeps_its_signature(anthropic_client):
    def thought(content):
        return next(block for block in content if block.type == "thinking")

    options = {
        "model": "lab-think",
        "max_tokens": 2048,
        "messages": says("think first"),
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    whole = anthropic_client.messages.create(**options)
    assert thought(whole.content).thinking and thought(whole.content).signature
    signatures = []
    for _ in range(2):
        with anthropic_client.messages.stream(**options) as stream:
            streamed = stream.get_final_message()
        assert [block.type for block in streamed.content] == ["thinking", "text"]
        signatures.append(thought(streamed.content).signature)
    assert signatures[0] and signatures[0] == signatures[1]


def test_tokens_are_counted(anthropic_client):
    assert anthropic_client.messages.count_tokens(model="lab-echo", messages=says("one two three")).input_tokens > 0


def test_models_are_listed_in_the_vendors_shape(anthropic_client):
    names = [model.id for model in anthropic_client.models.list()]
    assert "lab-echo" in names
    assert anthropic_client.models.retrieve("lab-echo").id == "lab-echo"


ERRORS = [
    (400, anthropic.BadRequestError),
    (401, anthropic.AuthenticationError),
    (404, anthropic.NotFoundError),
    (500, anthropic.InternalServerError),
    (429, anthropic.RateLimitError),
    (529, anthropic.InternalServerError),
]


def client_for_errors(stand):
    url = f"http://{stand.failing.address}" if DIRECT else stand.anthropic_url
    return anthropic.Anthropic(base_url=url, api_key=stand.key, max_retries=0, timeout=20)


@pytest.mark.parametrize(("status", "exception"), ERRORS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_providers_error_is_the_sdks_own_exception(stand, status, exception, stream):
    with client_for_errors(stand) as client, pytest.raises(exception) as raised:
        client.messages.create(model=f"lab-error-{status}", max_tokens=10, messages=says("fail"), stream=stream)
    assert raised.value.status_code == status
    assert raised.value.body["type"] == "error" and raised.value.body["error"]["message"]
    if status in (429, 529):
        assert int(raised.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("how", ["api_key", "auth_token"])
def test_a_wrong_key_is_an_authentication_error(stand, how):
    with (
        anthropic.Anthropic(base_url=stand.anthropic_url, max_retries=0, **{how: "sk-nobody-0000"}) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="lab-echo", max_tokens=10, messages=says("let me in"))


def test_a_stream_that_the_provider_cuts_raises(anthropic_client):
    with (
        pytest.raises((anthropic.AnthropicError, httpx2.HTTPError)),
        anthropic_client.messages.stream(model="lab-cut", max_tokens=100, messages=says("cut me off")) as stream,
    ):
        stream.get_final_message()


def test_a_reply_that_the_provider_cuts_raises(anthropic_client):
    with pytest.raises((anthropic.AnthropicError, httpx2.HTTPError)):
        anthropic_client.messages.create(model="lab-cut", max_tokens=100, messages=says("cut me off"))


@pytest.mark.gateway
def test_a_stream_that_stalls_raises_after_between_tokens(anthropic_client):
    with (
        pytest.raises((anthropic.AnthropicError, httpx2.HTTPError)),
        anthropic_client.messages.stream(model="lab-stall", max_tokens=100, messages=says("and then")) as stream,
    ):
        stream.get_final_message()


def test_a_caller_that_leaves_mid_stream_is_seen_by_the_provider_at_once(stand, anthropic_client):
    took = []
    for _ in range(5):
        stream = anthropic_client.messages.create(
            model="lab-tokens-1000",
            max_tokens=2000,
            messages=says("go on"),
            stream=True,
            extra_headers={"x-lab-interval-ms": "20"},
        )
        next(stream)
        took.append(milliseconds_until_cancelled(stand.lab, stream.close))
    assert_seen_at_once("Anthropic SDK, mid-stream", took)
