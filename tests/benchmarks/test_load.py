"""The stand-in and the load client: do they send, count and measure right?"""

import json
import math
import random
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare.processes import Certificate
from kiroproxy.simulator import frames

MARKER = re.compile(r"@([0-9a-f]{8})([0-9a-f]{4})$")
OTHERS = ["messageMetadataEvent", "metadataEvent", "contextUsageEvent", "meteringEvent"]


@pytest.fixture
def stand_in(programs: Path) -> Iterator[int]:
    with subprocess.Popen([programs / "kiro"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.terminate()


def ask(port: int, script: str, prompt: str = "", **tls: Any) -> list[frames.Frame]:
    scheme = "https" if tls else "http"
    url = f"{scheme}://127.0.0.1:{port}/generateAssistantResponse?{script}"
    request = urllib.request.Request(url, json.dumps({"content": prompt}).encode())
    with urllib.request.urlopen(request, timeout=5, **tls) as answer:
        assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
        return list(frames.decode(answer.read()))


def load(programs: Path, port: int, *options: object) -> dict[str, Any]:
    command = [programs / "load", "--port", port, "--api", "kiro", "--limit", 4, *options]
    done = subprocess.run([*map(str, command)], capture_output=True, check=True, timeout=20)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def texts(found: list[frames.Frame]) -> list[str]:
    contents = [frame.json() for frame in found]
    return [
        str(each["content"]) for each in contents if isinstance(each, dict) and "content" in each
    ]


@pytest.mark.parametrize(
    "script",
    [
        "mode=paced&events=40&rate=2000",
        "mode=coalesced&events=40&bytes=2000&every=1",
        "mode=answer&events=40",
        "mode=flood&events=40",
    ],
)
def test_every_frame_passes_the_simulators_decoder(stand_in: int, script: str) -> None:
    found = ask(stand_in, script)
    names = [frame.headers[":event-type"] for frame in found]
    assert [name for name in names if name != "assistantResponseEvent"] == OTHERS
    numbers = [int(MARKER.search(text)[2], 16) for text in texts(found)]  # type: ignore[index]
    assert numbers == list(range(40))


def test_an_idle_answer_is_one_event_and_an_end(stand_in: int) -> None:
    assert len(texts(ask(stand_in, "mode=idle&seconds=0.05"))) == 1


def test_the_prompt_chooses_the_answer(stand_in: int) -> None:
    prompt = "Go on. [[load mode=answer events=7]]"
    assert len(texts(ask(stand_in, "mode=paced&events=3", prompt))) == 7


def test_the_stand_in_speaks_tls(programs: Path, tmp_path: Path) -> None:
    made = Certificate.make(tmp_path)
    command = [programs / "kiro", "--tls", made.chain, made.key]
    context = ssl.create_default_context(cafile=str(made.authority))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        assert len(texts(ask(port, "mode=flood&events=3000", context=context))) == 3000
        process.terminate()


def test_a_body_of_many_megabytes_is_read(stand_in: int) -> None:
    prompt = "x" * 20_000_000 + "[[load mode=answer events=2]]"
    assert len(texts(ask(stand_in, "", prompt))) == 2


def test_the_client_counts_every_event_of_every_stream(programs: Path, stand_in: int) -> None:
    script = "mode=paced events=25 rate=500"
    found = load(programs, stand_in, "--connections", 20, "--ask", script, "--pace", 500)
    assert (found["events"], found["answers"]) == (500, 20)
    assert found["latency_us"]["count"] == 500
    assert found["first_event_us"]["count"] == 20
    assert found["bad_answers"] == found["lost_events"] == found["unfinished"] == 0


def test_an_event_too_late_shows_as_latency_from_its_due_time(
    programs: Path, stand_in: int
) -> None:
    script = "mode=answer events=1 delay=60"
    found = load(programs, stand_in, "--ask", script, "--each", 3)
    assert found["first_event_us"]["p50"] >= 60_000
    assert found["answers"] == 3


def test_open_loop_sends_the_rate_that_was_asked_for(programs: Path, stand_in: int) -> None:
    options = ["--rate", 200, "--seconds", 0.5, "--connections", 8]
    found = load(programs, stand_in, *options, "--ask", "mode=answer events=1")
    assert found["answers"] == found["total"]["issued"] == 100


def test_waiting_for_a_free_connection_counts_as_latency(programs: Path, stand_in: int) -> None:
    options = ["--rate", 100, "--seconds", 0.3, "--connections", 1]
    found = load(programs, stand_in, *options, "--ask", "mode=answer events=1 delay=50")
    # 30 requests of 50 ms over one connection: the last has waited for more than a second.
    assert found["answer_us"]["max"] > 1_000_000


def test_clients_that_leave_are_counted_on_both_sides(programs: Path, stand_in: int) -> None:
    options = ["--connections", 10, "--leave", 1, "--leave-within", 0.2, "--seconds", 0.1]
    found = load(programs, stand_in, *options, "--ask", "mode=idle seconds=30")
    assert found["total"]["left"] >= 10
    with urllib.request.urlopen(f"http://127.0.0.1:{stand_in}/stats", timeout=5) as answer:
        stats = json.load(answer)
    assert (stats["answering"], stats["aborted"]) == (0, found["total"]["left"])


def answer_once(answer: bytes) -> int:
    """Serve one canned answer on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with closing(listener), listener.accept()[0] as peer:
            peer.recv(65536)
            peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + end


def test_a_lost_event_is_noticed(programs: Path) -> None:
    port = answer_once(chunked(b"@000000010000", b"@000000010002"))
    found = load(programs, port)
    assert (found["lost_events"], found["events"]) == (1, 2)


def test_a_marker_cut_by_a_chunk_is_counted_once(programs: Path) -> None:
    port = answer_once(chunked(b"a@0000000", b"10000b@", b"000000010001"))
    found = load(programs, port)
    assert (found["lost_events"], found["events"]) == (0, 2)


def test_an_address_is_not_a_marker(programs: Path) -> None:
    assert load(programs, answer_once(chunked(b"a@beef.example @@00@")))["events"] == 0


def test_an_answer_without_its_end_is_cut(programs: Path) -> None:
    found = load(programs, answer_once(chunked(b"@000000010000", end=b"")))
    assert (found["cut"], found["answers"]) == (1, 0)


def test_an_answer_that_ends_otherwise_is_named(programs: Path) -> None:
    answer = chunked(b"event: message_stop\n\n", b"event: error\n\n" * 6)
    found = load(programs, answer_once(answer), "--expect-end", "message_stop")
    assert found["unexpected_end"] == 1
    whole = load(
        programs, answer_once(chunked(b"message_", b"stop")), "--expect-end", "message_stop"
    )
    assert whole["unexpected_end"] == 0


def test_a_refusal_is_not_an_answer(programs: Path) -> None:
    answer = b"HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nwait"
    found = load(programs, answer_once(answer))
    assert (found["answers"], found["refused"], found["first_bad_status"]) == (0, 1, 429)
    assert found["first_bad_text"] == "wait"


@pytest.mark.parametrize("scale", [1, 100, 1_000_000])
def test_the_histogram_is_never_more_than_one_bucket_above_the_truth(
    programs: Path, scale: int
) -> None:
    values = sorted(int(random.Random(scale).expovariate(1 / scale)) for _ in range(5000))
    text = "\n".join(map(str, values))
    done = subprocess.run([programs / "load", "percentiles"], input=text, capture_output=True,
                          text=True, check=True)  # fmt: skip
    found = json.loads(done.stdout)
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9)):
        exact = values[math.ceil(len(values) * percent / 100) - 1]
        assert exact <= found[name] <= exact * (1 + 1 / 64)
    assert (found["max"], found["count"]) == (values[-1], 5000)


def test_usage_reads_a_tree_whose_names_hold_parentheses(programs: Path) -> None:
    child = "import sys; open('/proc/self/comm','w').write(') R 1 (x'); [i*i for i in range(10**6)]"
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    waits = f"{child}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", parent, waits], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        done = subprocess.run([programs / "load", "usage", str(process.pid)], capture_output=True,
                              check=True)  # fmt: skip
        process.stdin.close()
    found = json.loads(done.stdout)
    assert found["processes"] == 2
    assert found["cpu_s"] >= 0.03
    # The same time counted twice, in nanoseconds and in ticks of both kinds and processes.
    assert abs(found["cpu_s"] - found["user_s"] - found["system_s"]) < 0.05
    assert found["rss_kib"] >= found["pss_kib"] > 5000
