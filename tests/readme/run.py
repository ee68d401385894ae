#!/usr/bin/env python3
"""Runs the commands of the README and checks the examples of the guide, as they are written.

A block is tested by the comment in front of it: `<!-- test: KIND -->`, and must print TEXT with
`<!-- test: KIND, prints TEXT -->`. Kinds:
  quickstart  against `make run` on a free port; `export TIDEGATE_…=…` lines take the values that it printed
  config      in a folder with the page's tidegate.yaml and its variables set
  env         in a folder with a .env file of the old proxy
  check       a configuration that `tidegate check` accepts
Every `sh` block needs one. TIDEGATE_BIN names the binary (default target/debug/tidegate).
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "sdk"))

from stand import BINARY, START_SECONDS, STOP_SECONDS, free_port, until  # noqa: E402

BLOCK = re.compile(
    r"(?:<!-- test: (?P<kind>\w+)(?:, prints (?P<prints>.+?))? -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
# A .env as the old proxy's guide has it.
OLD_ENV = """\
PORT=8001
VALID_API_KEYS=linux.do,sk-second-caller
DEEPINFRA_MIRRORS=https://one.example.com/v1/openai/chat/completions,https://two.example.com/v1/openai/chat/completions
MAX_CONCURRENT_CONNECTIONS=1000
CONNECTION_QUEUE_SIZE=500
STREAM_BUFFER_SIZE=16384
MEMORY_LIMIT_MB=2048
PERFORMANCE_MODE=balanced
ENDPOINT_STRATEGY=workers_first
DISABLE_CONNECTION_CHECK=true
"""
# Ends a command that hangs; `make run` may have to build first.
COMMAND_SECONDS = 60
BUILD_SECONDS = 1200


def without_keys():
    """The environment without variables that would make quickstart use a real provider or change the examples."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and not name.startswith("TIDEGATE_") and name != "MAKEFLAGS"
    }


def run(code, folder, more_environment):
    """Runs shell code as a user would, with `tidegate` on the path: its output; an AssertionError when it fails."""
    bin_folder = pathlib.Path(folder) / "bin"
    bin_folder.mkdir(exist_ok=True)
    link = bin_folder / "tidegate"
    if not link.exists():
        link.symlink_to(BINARY)
    environment = {**without_keys(), "PATH": f"{bin_folder}:{os.environ['PATH']}", **more_environment}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def quickstart(folder):
    """`make run` on a free port; gives its address and all that it printed when it was ready."""
    address = f"127.0.0.1:{free_port()}"
    output = pathlib.Path(folder) / "quickstart.out"
    with open(output, "wb") as out:
        process = subprocess.Popen(
            ["make", "--no-print-directory", "run", f"ARGS=--bind {address}"],
            cwd=ROOT, env=without_keys(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )
    try:

        def printed():
            assert process.poll() is None, f"make run ended:\n{output.read_text()}"
            text = output.read_text()
            return text if re.search(r"Bearer \S+", text) and "-d " in text else None

        until(lambda: "Finished" in output.read_text() or process.poll() is not None, "make run has built", BUILD_SECONDS)
        yield address, until(printed, "quickstart prints its curl", START_SECONDS)
    finally:
        # The group that this start made and nothing else: make, its shell and tidegate.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)


def test_quickstart(blocks, folder):
    with quickstart(folder) as (address, printed):
        key = re.search(r"Bearer ([^\"'\s]+)", printed)[1]
        assert f"http://{address}" in printed, "quickstart prints its URL"
        assert "lab" in printed, "quickstart says which provider answers"
        settings = {"TIDEGATE_URL": f"http://{address}", "TIDEGATE_KEY": key}

        command = re.search(r"^\s*(curl\b(?:.*\\\n)*.*)$", printed, re.M)[1]
        reply = run(command, folder, {})
        assert "data: {" in reply and "data: [DONE]" in reply, f"the printed curl answers:\n{reply}"
        print("ran: the curl that `make run` prints")

        for block in blocks:
            if block["language"] == "python":
                names = {"TIDEGATE_KEY": key}
                exec(block["code"].replace("127.0.0.1:8080", address), names)  # noqa: S102
                with names["client"] as client:
                    assert "lab-echo" in [model.id for model in client.models.list()]
            else:
                code = re.sub(r"^export TIDEGATE_\w+=.*\n", "", block["code"], flags=re.M)
                expect(block, run(code, folder, settings))
            print(f"ran: {first_line(block)}")


def test_config(blocks, folder):
    variables = {"TIDEGATE_KEY": "sk-readme-caller", "OPENAI_API_KEY": "sk-a", "ANTHROPIC_API_KEY": "sk-b"}
    for block in blocks:
        if block["language"] == "yaml":
            (pathlib.Path(folder) / "tidegate.yaml").write_text(block["code"], encoding="utf-8")
        if block["language"] == "sh":
            expect(block, run(block["code"], folder, variables))
            print(f"ran: {first_line(block)}")


def test_env(blocks, folder):
    (pathlib.Path(folder) / ".env").write_text(OLD_ENV, encoding="utf-8")
    for block in blocks:
        output = run(block["code"], folder, {})
        expect(block, output)
        (pathlib.Path(folder) / "imported.yaml").write_text(output, encoding="utf-8")
        run("tidegate check imported.yaml", folder, {"TIDEGATE_ADMIN_TOKEN": "imported-admin-token"})
        print(f"ran: {first_line(block)}; its output passes `tidegate check`")


def test_check(blocks, folder):
    """Each is a whole configuration; whatever variables it names are set."""
    for block in blocks:
        (pathlib.Path(folder) / "tidegate.yaml").write_text(block["code"], encoding="utf-8")
        names = re.findall(r"\$\{(\w+)\}", block["code"])
        run("tidegate check tidegate.yaml", folder, {name: f"value-of-{name.lower()}-0000" for name in names})
        print(f"checked: the configuration of {block['page']}")


def test_reference_names_every_key(folder):
    schema = json.loads(run("tidegate schema", folder, {}))
    page = (ROOT / "docs/guide/configuration.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    missing = set()

    def visit(node):
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                missing.update(name for name in properties if name not in words)
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(schema)
    assert not missing, f"docs/guide/configuration.md does not name: {', '.join(sorted(missing))}"
    print("checked: the reference names every key of the schema")


def expect(block, output):
    wanted = block["prints"]
    assert not wanted or wanted in output, f"{first_line(block)}\nprints no {wanted!r} but:\n{output}"


def first_line(block):
    line = next(line for line in block["code"].splitlines() if line.strip() and not line.startswith("export"))
    return block["page"] + ": " + line.rstrip(" \\")


KINDS = {"quickstart": test_quickstart, "config": test_config, "env": test_env, "check": test_check}


def main():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [
        {**found.groupdict(), "page": str(page.relative_to(ROOT))}
        for page in pages
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]
    untested = [first_line(block) for block in blocks if block["language"] == "sh" and not block["kind"]]
    assert not untested, f"`sh` blocks without a test comment (use `text` for what is not run): {untested}"
    unknown = {block["kind"] for block in blocks if block["kind"]} - set(KINDS)
    assert not unknown, f"unknown kinds: {unknown}"
    for kind, test in KINDS.items():
        chosen = [block for block in blocks if block["kind"] == kind]
        assert chosen, f"no block is tested as {kind}"
        with tempfile.TemporaryDirectory(prefix="tidegate-readme-") as folder:
            test(chosen, folder)
    with tempfile.TemporaryDirectory(prefix="tidegate-readme-") as folder:
        test_reference_names_every_key(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
