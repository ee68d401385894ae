"""Fixtures: one stand for the whole run, clients of both SDKs that talk to it, without retries of their own."""

import pathlib
import sys

import anthropic
import openai
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import stand as stands  # noqa: E402

# What the gateway adds to a provider; without one there is nothing to test.
GATEWAY_MODULES = {"test_gateway", "test_failover"}


def pytest_configure(config):
    config.addinivalue_line("markers", "gateway: about what the gateway does; left out with TIDEGATE_DIRECT=1")


def pytest_collection_modifyitems(config, items):
    if stands.DIRECT:
        about_gateway = [i for i in items if i.get_closest_marker("gateway") or i.module.__name__ in GATEWAY_MODULES]
        config.hook.pytest_deselected(items=about_gateway)
        items[:] = [item for item in items if item not in about_gateway]


def pytest_terminal_summary(terminalreporter):
    for line in stands.MEASURED:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def stand(request):
    with stands.Stand() as running:
        yield running
        running.keep_logs = request.session.testsfailed > 0


@pytest.fixture(scope="session")
def openai_client(stand):
    with openai.OpenAI(base_url=stand.openai_url, api_key=stand.key, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def anthropic_client(stand):
    with anthropic.Anthropic(base_url=stand.anthropic_url, api_key=stand.key, max_retries=0, timeout=20) as client:
        yield client
