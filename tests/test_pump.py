"""From one socket to the other: the same bytes as the translator alone, one write a read."""

import pytest

from kiroproxy._pump import Outlet, Pump
from kiroproxy._sse import Translator
from kiroproxy._wire import Phase, Wire
from kiroproxy.simulator.frames import event, exception

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMES = [
    event("assistantResponseEvent", {"content": "Hello "}),
    event("assistantResponseEvent", {"content": "wörld 👋\n"}),
    event("toolUseEvent", {"toolUseId": "t", "name": "f", "input": '{"a":1}', "stop": True}),
    event("meteringEvent", {"usage": 1.0}),
]


class Client:
    """A client's transport: takes writes, and says stop above a mark."""

    def __init__(self, mark: int = 1 << 30) -> None:
        self.writes: list[bytes] = []
        self.fault: Exception | None = None
        self.outlet = Outlet(self.write)
        self._mark = mark

    def write(self, data: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.writes.append(data)
        if sum(map(len, self.writes)) > self._mark:
            self.outlet.pause()

    @property
    def body(self) -> bytes:
        """What is inside the chunks; fails if a write is not exactly one of them."""
        body = b""
        for write in self.writes:
            size, _, rest = write.partition(b"\r\n")
            assert len(rest) == int(size, 16) + 2 and rest.endswith(b"\r\n")
            body += rest[:-2]
        return body


class Kiro(Wire):
    """A connection to Kiro without a socket."""

    def __new__(cls) -> "Kiro":
        return super().__new__(cls, lambda: 7.0, memoryview(bytearray(1 << 16)))

    def __init__(self) -> None:
        self.reading = True
        self.fault: Exception | None = None
        self.woken = 0
        self._transport = self
        self.begin()
        self.read(HEAD)

    def read(self, data: bytes) -> None:
        self.get_buffer(-1)[: len(data)] = data
        self.buffer_updated(len(data))

    def send(self, *frames: bytes) -> None:
        """Let whole frames arrive in one read, each in its own chunk."""
        self.read(b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames))

    def arrived(self) -> None:
        self.woken += 1

    def broken(self, fault: Exception) -> None:
        self.fault = fault
        self.phase = Phase.CLOSED

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def translator(stop_sequences: tuple[str, ...] = ()) -> Translator:
    return Translator(
        message_id="msg_1",
        model="m",
        split_tags=False,
        drop_thinking=False,
        tool_names={},
        stop_sequences=stop_sequences,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1 << 16])
def test_the_client_gets_what_the_translator_writes(size: int) -> None:
    client, kiro, body = Client(), Kiro(), b"".join(FRAMES)
    kiro.attach(Pump(translator(), client.outlet, None))
    for start in range(0, len(body), size):
        before = len(client.writes)
        kiro.send(body[start : start + size])
        assert len(client.writes) <= before + 1
    assert client.body == translator().feed(body)


def test_chunks_of_one_read_are_one_write() -> None:
    client, kiro = Client(), Kiro()
    kiro.attach(Pump(translator(), client.outlet, None))
    kiro.send(*FRAMES)
    assert len(client.writes) == 1
    assert client.outlet.wrote_at == 7.0


def test_what_came_before_the_pump_comes_first() -> None:
    client, kiro = Client(), Kiro()
    kiro.send(FRAMES[0])
    kiro.attach(Pump(translator(), client.outlet, None))
    kiro.send(FRAMES[1])
    assert client.body == translator().feed(FRAMES[0] + FRAMES[1])


def test_nobody_is_woken_for_events_and_the_first_content_is_told_once() -> None:
    client, kiro, told = Client(), Kiro(), []
    kiro.attach(Pump(translator(), client.outlet, lambda: told.append(len(client.writes))))
    woken = kiro.woken
    kiro.send(FRAMES[3])
    assert told == []
    for _ in range(3):
        kiro.send(FRAMES[0])
    assert told == [1]
    assert kiro.woken == woken


def test_an_early_end_writes_what_comes_before_it_and_wakes_the_waiter() -> None:
    client, kiro = Client(), Kiro()
    machine = translator(stop_sequences=("wör",))
    kiro.attach(Pump(machine, client.outlet, None))
    woken = kiro.woken
    kiro.send(*FRAMES)
    assert not kiro.wants_more and kiro.woken > woken and machine.finished_early
    assert client.body == translator().feed(FRAMES[0])


def test_a_failure_writes_what_was_complete_and_wakes_the_waiter() -> None:
    client, kiro, machine = Client(), Kiro(), translator()
    kiro.attach(Pump(machine, client.outlet, None))
    kiro.send(FRAMES[0], exception("ThrottlingException", {"message": "no"}), FRAMES[1])
    assert machine.failure is not None and not kiro.wants_more
    assert kiro.woken and client.body == translator().feed(FRAMES[0])


def test_a_slow_client_pauses_kiro_and_a_quick_one_lets_it_go_on() -> None:
    client, kiro = Client(mark=100), Kiro()
    kiro.attach(Pump(translator(), client.outlet, None))
    kiro.send(FRAMES[0])
    assert not kiro.reading and kiro.paused
    client.outlet.resume()
    assert kiro.reading and not kiro.paused


def test_a_client_that_was_slow_before_pauses_kiro_at_once() -> None:
    client, kiro = Client(), Kiro()
    client.outlet.pause()
    kiro.attach(Pump(translator(), client.outlet, None))
    assert not kiro.reading


def test_detaching_lets_kiro_go_on_and_its_bytes_wait() -> None:
    client, kiro = Client(mark=0), Kiro()
    pump = Pump(translator(), client.outlet, None)
    kiro.attach(pump)
    kiro.send(FRAMES[0])
    kiro.detach()
    pump.close()
    assert kiro.reading
    kiro.send(FRAMES[1])
    assert kiro.take_queue() == FRAMES[1]
    client.outlet.resume()  # the next request's business, not this pump's


@pytest.mark.parametrize("way", ["left", "closing"])
def test_a_client_that_is_gone_is_written_to_no_more(way: str) -> None:
    client, kiro, told = Client(), Kiro(), []
    client.outlet.watch(lambda: told.append("gone"))
    kiro.attach(Pump(translator(), client.outlet, None))
    if way == "left":
        client.outlet.close()
        assert told == ["gone"]
    else:
        client.fault = RuntimeError("the handler is closed")
    kiro.send(*FRAMES)
    assert client.writes == [] and kiro.fault is None


def test_another_fault_of_the_writing_is_told_and_not_lost() -> None:
    client, kiro = Client(), Kiro()
    client.fault = ZeroDivisionError()
    kiro.attach(Pump(translator(), client.outlet, None))
    kiro.send(FRAMES[0])
    assert kiro.fault is client.fault


def test_who_stopped_watching_hears_nothing() -> None:
    client, told = Client(), []
    client.outlet.watch(lambda: told.append("gone"))
    client.outlet.watch(None)
    client.outlet.close()
    assert told == [] and client.outlet.closed
