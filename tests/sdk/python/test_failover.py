"""A provider dies in the middle of a run, and no caller notices."""

import concurrent.futures
import threading

import openai
import pytest

from stand import CALLER_KEY, PROVIDER_KEY, Gateway, Lab

REQUESTS = 200
AT_ONCE = 8
KILL_AFTER = 60


@pytest.fixture
def two_providers(tmp_path):
    parts = []
    try:
        first = Lab("first", tmp_path)
        parts.append(first)
        second = Lab("second", tmp_path)
        parts.append(second)

        def configuration(address):
            return f"""\
listeners: [{{ bind: "{address}" }}]
timeouts: {{ drain: 5s }}
retry: {{ attempts: 3, delay: 10ms, budget_percent: 100, budget_min_per_second: 100 }}
callers:
  - {{ name: suite, key: {CALLER_KEY} }}
providers:
  first: {{ dialect: openai, base_url: "http://{first.address}/v1", api_key: {PROVIDER_KEY} }}
  second: {{ dialect: openai, base_url: "http://{second.address}/v1", api_key: {PROVIDER_KEY} }}
models:
  - {{ name: "*", to: [first, second], balance: round_robin }}
"""

        gateway = Gateway("gateway", configuration, tmp_path)
        parts.append(gateway)
        yield gateway, first, second
    finally:
        for part in reversed(parts):
            part.stop()


def test_a_provider_killed_mid_run_fails_no_request(two_providers):
    texts = run_and_kill(two_providers, stream=False)
    assert texts == [f"number {number}" for number in range(REQUESTS)]


def test_a_provider_killed_mid_run_breaks_only_streams_that_had_begun(two_providers):
    texts = run_and_kill(two_providers, stream=True)
    broken = [number for number, text in enumerate(texts) if text is None]
    assert all(text in (f"number {number}", None) for number, text in enumerate(texts))
    assert len(broken) <= AT_ONCE


def run_and_kill(two_providers, stream):
    """REQUESTS callers, AT_ONCE at a time, and a kill -9 among them: their texts, None for a stream that broke."""
    gateway, first, second = two_providers
    answered = threading.Semaphore(0)

    def one(client, number):
        # 20 ms to the first token: the kill meets requests that wait for their reply.
        reply = client.chat.completions.create(
            model="lab-echo",
            messages=[{"role": "user", "content": f"number {number}"}],
            stream=stream,
            extra_headers={"x-lab-first-token-ms": "20"},
        )
        try:
            if stream:
                return "".join(chunk.choices[0].delta.content or "" for chunk in reply if chunk.choices)
            return reply.choices[0].message.content
        except openai.OpenAIError:
            return None
        finally:
            answered.release()

    url = f"http://{gateway.address}/v1"
    with (
        openai.OpenAI(base_url=url, api_key=CALLER_KEY, max_retries=0, timeout=20) as client,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        running = [pool.submit(one, client, number) for number in range(REQUESTS)]
        for _ in range(KILL_AFTER):
            assert answered.acquire(timeout=20)
        shares = first.stats()["requests"], second.stats()["requests"]
        first.kill()
        texts = [future.result(timeout=60) for future in running]
    assert min(shares) > 0, "both providers took part before the kill"
    assert second.stats()["requests"] >= REQUESTS - shares[0] - AT_ONCE, "the survivor took the rest"
    return texts
