"""The official OpenAI SDK, unchanged but for its base URL."""

import asyncio
import http.client
import json

import httpx2
import openai
import pytest

from stand import DIRECT, assert_seen_at_once, milliseconds_until_cancelled, until

# A 1 × 1 PNG.
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place"],
        },
    },
}


def says(text):
    return [{"role": "user", "content": text}]


def test_a_chat_completion_answers_and_counts(openai_client):
    reply = openai_client.chat.completions.create(model="lab-echo", messages=says("calm sea and prosperous voyage"))
    assert reply.choices[0].message.content == "calm sea and prosperous voyage"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_streamed_chat_completion_is_the_same_text(openai_client):
    stream = openai_client.chat.completions.create(
        model="lab-echo",
        messages=says("calm sea and prosperous voyage"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "calm sea and prosperous voyage"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0


def test_a_stream_without_include_usage_has_no_usage_chunk(openai_client):
    stream = openai_client.chat.completions.create(model="lab-echo", messages=says("hello there"), stream=True)
    chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_a_long_stream_arrives_whole(openai_client):
    stream = openai_client.chat.completions.create(model="lab-tokens-5000", messages=says("count"), stream=True)
    pieces = [c.choices[0].delta.content for c in stream if c.choices and c.choices[0].delta.content]
    assert len(pieces) == 5000


def test_a_hundred_streams_at_once_keep_their_own_texts(stand):
    async def one(client, number):
        stream = await client.chat.completions.create(
            model="lab-echo",
            messages=says(f"stream {number} has its own words"),
            stream=True,
            extra_headers={"x-lab-interval-ms": "10"},
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=stand.openai_url, api_key=stand.key, max_retries=0) as client:
            return await asyncio.gather(*(one(client, number) for number in range(100)))

    assert asyncio.run(all_of_them()) == [f"stream {number} has its own words" for number in range(100)]


def test_a_large_body_goes_up_whole(openai_client):
    text = "tide " * 200_000  # 1 MB
    reply = openai_client.chat.completions.create(model="lab-echo", messages=says(text))
    assert reply.choices[0].message.content.split() == text.split()


def test_a_slow_first_token_is_waited_for(openai_client):
    stream = openai_client.chat.completions.create(model="lab-slow", messages=says("patience"), stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def test_silence_between_tokens_is_bridged_by_heartbeats_that_the_sdk_ignores(openai_client):
    stream = openai_client.chat.completions.create(
        model="lab-tokens-3", messages=says("slowly"), stream=True, extra_headers={"x-lab-interval-ms": "700"}
    )
    assert sum(1 for c in stream if c.choices and c.choices[0].delta.content) == 3


def test_tools_are_called(openai_client):
    reply = openai_client.chat.completions.create(model="lab-tools", messages=says("how is it?"), tools=[WEATHER])
    call = reply.choices[0].message.tool_calls[0]
    assert reply.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"place"}


def test_streamed_tool_arguments_join_to_valid_json(openai_client):
    stream = openai_client.chat.completions.create(
        model="lab-tools", messages=says("how is it?"), tools=[WEATHER], stream=True
    )
    names, arguments, finish = [], "", None
    for chunk in stream:
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                assert call.index == 0
                names += [call.function.name] if call.function.name else []
                arguments += call.function.arguments or ""
    assert (names, finish) == (["weather"], "tool_calls")
    assert set(json.loads(arguments)) == {"place"}


def test_a_tool_result_is_accepted(openai_client):
    first = openai_client.chat.completions.create(model="lab-tools", messages=says("how is it?"), tools=[WEATHER])
    call = first.choices[0].message.tool_calls[0]
    reply = openai_client.chat.completions.create(
        model="lab-echo",
        messages=[
            *says("how is it?"),
            first.choices[0].message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": "wind from the north"},
        ],
    )
    assert reply.choices[0].message.content


def test_images_go_in(openai_client):
    content = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    reply = openai_client.chat.completions.create(model="lab-echo", messages=[{"role": "user", "content": content}])
    assert "what is this" in reply.choices[0].message.content


def test_reasoning_is_passed_on(openai_client):
    reply = openai_client.chat.completions.create(model="lab-think", messages=says("think first"))
    assert reply.choices[0].message.content
    assert reply.choices[0].message.to_dict().get("reasoning_content")


def test_completions_answer(openai_client):
    assert openai_client.completions.create(model="lab-echo", prompt="once upon a tide").choices[0].text
    stream = openai_client.completions.create(model="lab-echo", prompt="once upon a tide", stream=True)
    assert "".join(c.choices[0].text for c in stream if c.choices)


def test_embeddings_are_vectors_in_both_encodings(openai_client):
    packed = openai_client.embeddings.create(model="lab-echo", input=["ebb", "flow"])
    plain = openai_client.embeddings.create(model="lab-echo", input=["ebb", "flow"], encoding_format="float")
    assert len(packed.data) == len(plain.data) == 2
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, rel=1e-4, abs=1e-4)
    assert packed.data[0].embedding != packed.data[1].embedding


def test_responses_answer(openai_client):
    reply = openai_client.responses.create(model="lab-echo", input="high water")
    assert reply.status == "completed" and "high water" in reply.output_text
    assert reply.usage.output_tokens > 0


def test_streamed_responses_end_with_completed(openai_client):
    text, last = "", None
    for event in openai_client.responses.create(model="lab-echo", input="high water", stream=True):
        last = event
        if event.type == "response.output_text.delta":
            text += event.delta
    assert "high water" in text
    assert last.type == "response.completed" and last.response.usage.output_tokens > 0


def test_the_responses_helper_follows_a_stream(openai_client):
    with openai_client.responses.stream(model="lab-echo", input="low water") as stream:
        for _ in stream:
            pass
        assert "low water" in stream.get_final_response().output_text


def test_models_are_listed_and_found(openai_client):
    names = [model.id for model in openai_client.models.list()]
    assert "lab-echo" in names
    assert openai_client.models.retrieve("lab-echo").id == "lab-echo"


def test_moderations_answer(openai_client):
    assert openai_client.moderations.create(model="lab-echo", input="a calm sentence").results[0].flagged is False


def test_audio_goes_up_as_a_form(openai_client):
    sound = b"RIFF" + bytes(range(256)) * 400  # 100 KB, every byte value
    reply = openai_client.audio.transcriptions.create(model="lab-echo", file=("tide.wav", sound, "audio/wav"))
    assert reply.text


def test_speech_comes_down_as_bytes(openai_client):
    reply = openai_client.audio.speech.create(model="lab-echo", voice="alloy", input="the tide is turning")
    assert len(reply.read()) > 0


def test_images_are_made_and_edited(openai_client):
    made = openai_client.images.generate(model="lab-echo", prompt="a gate in the sea")
    assert made.data[0].b64_json or made.data[0].url
    edited = openai_client.images.edit(model="lab-echo", image=("a.png", b"\x89PNG" + bytes(1000)), prompt="brighter")
    assert edited.data[0].b64_json or edited.data[0].url


def test_files_go_up_on_a_path_without_a_model(openai_client):
    sent = openai_client.files.create(file=("batch.jsonl", b'{"a": 1}\n' * 1000), purpose="batch")
    assert sent.id


ERRORS = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (404, openai.NotFoundError),
    (500, openai.InternalServerError),
    (429, openai.RateLimitError),
]


@pytest.mark.parametrize(("status", "exception"), ERRORS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_providers_error_is_the_sdks_own_exception(stand, status, exception, stream):
    with client_for_errors(stand) as client, pytest.raises(exception) as raised:
        client.chat.completions.create(model=f"lab-error-{status}", messages=says("fail"), stream=stream)
    assert raised.value.status_code == status
    assert raised.value.body["message"]


def test_an_overloaded_provider_is_a_503_with_retry_after(stand):
    with client_for_errors(stand) as client, pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="lab-error-529", messages=says("fail"))
    assert raised.value.status_code == (529 if DIRECT else 503)
    assert int(raised.value.response.headers["retry-after"]) >= 1


def client_for_errors(stand):
    url = f"http://{stand.failing.address}/v1" if DIRECT else stand.openai_url
    return openai.OpenAI(base_url=url, api_key=stand.key, max_retries=0, timeout=20)


def test_a_wrong_key_is_an_authentication_error(stand):
    with (
        openai.OpenAI(base_url=stand.openai_url, api_key="sk-nobody-0000", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="lab-echo", messages=says("let me in"))


def test_a_stream_that_the_provider_cuts_raises(openai_client):
    stream = openai_client.chat.completions.create(model="lab-cut", messages=says("cut me off"), stream=True)
    with pytest.raises((openai.OpenAIError, httpx2.HTTPError)):
        for _ in stream:
            pass


def test_a_reply_that_the_provider_cuts_raises(openai_client):
    with pytest.raises((openai.OpenAIError, httpx2.HTTPError)):
        openai_client.chat.completions.create(model="lab-cut", messages=says("cut me off"))


def test_a_cut_responses_stream_is_never_completed(openai_client):
    seen = []
    try:
        for event in openai_client.responses.create(model="lab-cut", input="cut me off", stream=True):
            seen.append(event.type)
    except (openai.OpenAIError, httpx2.HTTPError):
        seen.append("error")
    assert seen[-1] in ("error", "response.failed")
    assert "response.completed" not in seen


@pytest.mark.gateway
def test_a_stream_that_stalls_raises_after_between_tokens(openai_client):
    stream = openai_client.chat.completions.create(model="lab-stall", messages=says("and then"), stream=True)
    with pytest.raises((openai.OpenAIError, httpx2.HTTPError)):
        for _ in stream:
            pass


def test_a_caller_that_leaves_mid_stream_is_seen_by_the_provider_at_once(stand, openai_client):
    took = []
    for _ in range(5):
        stream = openai_client.chat.completions.create(
            model="lab-tokens-1000", messages=says("go on"), stream=True, extra_headers={"x-lab-interval-ms": "20"}
        )
        next(stream)
        took.append(milliseconds_until_cancelled(stand.lab, stream.close))
    assert_seen_at_once("OpenAI SDK, mid-stream", took)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_caller_that_leaves_before_the_first_token_is_seen_at_once(stand, stream):
    took = []
    for _ in range(5):
        connection = begin_and_wait_until_it_is_upstream(stand, stream)
        took.append(milliseconds_until_cancelled(stand.lab, connection.close))
    assert_seen_at_once("before the first token, " + ("streamed" if stream else "whole"), took)


def begin_and_wait_until_it_is_upstream(stand, stream):
    """A request that the SDK cannot make: begun, and held without reading."""
    before = stand.lab.stats()["requests"]
    connection = http.client.HTTPConnection(stand.address, timeout=10)
    body = json.dumps({"model": "lab-slow", "stream": stream, "messages": says("too slow for me")})
    fields = {"Authorization": f"Bearer {stand.key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body=body, headers=fields)
    until(lambda: stand.lab.stats()["requests"] > before, "the request is upstream")
    return connection
