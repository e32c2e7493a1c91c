"""Masking and the two line formats."""

import io
import json
import logging

import pytest

from kiroproxy import logs

SECRET = "s3cr3t-value-1234567890"


@pytest.mark.parametrize(
    "line",
    [
        f'{{"refreshToken": "{SECRET}", "other": 1}}',
        f'{{"access_token":"{SECRET}"}}',
        f'body "{{\\"clientSecret\\": \\"{SECRET}\\"}}"',
        f"{{'kiroApiKey': '{SECRET}'}}",
        f"Authorization: Bearer {SECRET}",
        f"authorization={SECRET}",
        f"x-api-key: {SECRET}",
        f"apiKey={SECRET}",
        f"ksk_{SECRET}",
        f"aorAAAAA{SECRET}",
        f"eyJhbGciOiJIUzI1NiJ9.{SECRET}.abc",
        f"proxy http://user:{SECRET}@proxy.example:8080 refused",
        f"socks5h://me:{SECRET}@127.0.0.1:1080",
        f'{{"proxyPassword": "{SECRET}"}}',
        f'{{"adminApiKey": "{SECRET}"}}',
        f'{{"mcp_servers": [{{"authorization_token": "{SECRET}"}}]}}',
        f'a body cut short: {{"refreshToken": "{SECRET}',
    ],
)
def test_mask_hides_the_secret(line: str) -> None:
    assert SECRET not in logs.mask(line)


@pytest.mark.parametrize(
    "line",
    [
        "input_tokens=1234 output_tokens=5",
        '{"max_tokens": 64000, "tokens": 12}',
        "POST /v1/messages 200 model=claude-sonnet-5 credential=3",
        "https://q.us-east-1.amazonaws.com/generateAssistantResponse",
        "credentials.json:5: credential 1 (id 1): kiroApiKey: does not start with ksk_.",
        "credentials.json:2: credential 1 (id 1): refreshToken: is missing. Log in to Kiro",
        "The bearer token included in the request is invalid",
    ],
)
def test_mask_leaves_ordinary_lines_alone(line: str) -> None:
    assert logs.mask(line) == line


@pytest.mark.parametrize("form", ['"%s": "%s"', "'%s': '%s'", '\\"%s\\": \\"%s\\"', "%s = %s"])
@pytest.mark.parametrize(
    "name",
    [
        *("accessToken", "REFRESH_TOKEN", "id_token", "authorizationToken", "auth_token"),
        *("session_token", "clientSecret", "secretAccessKey", "kiro_api_key", "adminApiKey"),
        *("countTokensApiKey", "x-api-key", "apikey", "private_key", "proxyPassword", "password"),
        *("passphrase", "code_verifier", "deviceCode", "Authorization", "cookie"),
    ],
)
def test_every_name_of_a_secret_is_known_in_every_form(name: str, form: str) -> None:
    assert SECRET not in logs.mask(form % (name, SECRET))


def test_a_secret_known_by_value_is_masked_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_own", [])
    logs.keep_secret("my own words", "model")
    line = logs.mask("path=/v1/my own words model=claude")
    assert line == "path=/v1/*** model=claude"


@pytest.mark.parametrize("value", ["half \ud800", 2**70, {1, 2}, object])
def test_a_value_that_json_cannot_hold_does_not_lose_the_line(
    restored_logging: None, value: object
) -> None:
    out = io.StringIO()
    logs.setup("info", out)
    logging.getLogger("kiroproxy.test").info("told", extra={"fields": {"value": value, "n": 1}})
    line = json.loads(out.getvalue().encode("utf-8", "surrogatepass"))
    assert (line["message"], line["n"]) == ("told", 1)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def restored_logging():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


def emit(stream: io.StringIO, level: str = "info") -> None:
    logs.setup(level, stream)
    token = logs.REQUEST_ID.set("req_42")
    try:
        fields = {"model": "claude-sonnet-5", "note": f"Bearer {SECRET}"}
        logging.getLogger("kiroproxy.test").info(
            "refreshToken=%s", SECRET, extra={"fields": fields}
        )
        try:
            raise ValueError(f"Bearer {SECRET}")
        except ValueError:
            logging.getLogger("somebody.else").exception("failed")
    finally:
        logs.REQUEST_ID.reset(token)


def test_a_pipe_gets_one_json_object_a_line_with_the_request_id(restored_logging: None) -> None:
    out = io.StringIO()
    emit(out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == ["req_42", "req_42"]
    assert lines[0]["model"] == "claude-sonnet-5"
    assert "ValueError" in lines[1]["exception"]
    assert SECRET not in out.getvalue()


def test_a_terminal_gets_readable_lines_with_the_request_id(restored_logging: None) -> None:
    out = Terminal()
    emit(out)
    first = out.getvalue().splitlines()[0]
    assert "[req_42]" in first and "model=claude-sonnet-5" in first and not first.startswith("{")
    assert SECRET not in out.getvalue()


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("error", 1)])
def test_the_level_decides_what_is_written(restored_logging: None, level: str, lines: int) -> None:
    out = io.StringIO()
    emit(out, level)
    assert len(out.getvalue().splitlines()) == lines


FORGERY = "x\n12:00:00 error   forged\r\n\x1b[2J\x9b31m\u2028\x7f"


def test_no_text_of_a_client_starts_a_line_or_drives_a_terminal(restored_logging: None) -> None:
    out = Terminal()
    logs.setup("info", out)
    fields = {"path": FORGERY, "model": FORGERY}
    logging.getLogger("a").info("about %s", FORGERY, extra={"fields": fields})
    line, end = out.getvalue()[:-1], out.getvalue()[-1]
    assert end == "\n" and line.isprintable()
    assert line.count("\\u000a12:00:00 error   forged\\u000d\\u000a\\u001b[2J\\u009b31m") == 3


def test_the_lines_of_an_exception_are_indented_on_a_terminal(restored_logging: None) -> None:
    out = Terminal()
    logs.setup("info", out)
    try:
        raise ValueError(FORGERY)
    except ValueError:
        logging.getLogger("a").exception("failed")
    first, *rest = out.getvalue().splitlines()
    assert first.endswith("failed") and rest[-1]
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_a_json_line_holds_no_control_character_and_still_says_the_same(
    restored_logging: None,
) -> None:
    out = io.StringIO()
    logs.setup("info", out)
    logging.getLogger("a").info("x", extra={"fields": {"path": FORGERY}})
    assert out.getvalue()[:-1].isprintable()
    assert json.loads(out.getvalue())["path"] == FORGERY


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_starts", set())


@pytest.mark.parametrize("shown", [80, 40, 16])
def test_a_kept_token_is_hidden_in_the_words_of_others_even_if_they_cut_it(
    forgetful: None, shown: int
) -> None:
    token = "unknown-form-" + "q" * 100
    logs.keep_token(token, "")
    line = logs.mask(
        f"HTTP 400: the token <{token[:shown]}> is not valid for model claude-sonnet-5"
    )
    assert line == "HTTP 400: the token <***> is not valid for model claude-sonnet-5"


def test_a_line_that_was_harmless_is_masked_once_its_words_are_a_secret() -> None:
    stream = io.StringIO()
    logs.setup("info", stream)
    word = "Zq9" * 12

    def tell(number: int) -> dict[str, object]:
        fields = {"model": word, "ms": number}
        logging.getLogger("t").info("request", extra={"fields": fields})
        return dict(json.loads(stream.getvalue().splitlines()[-1]))

    assert (tell(1)["model"], tell(2)["ms"]) == (word, 2)
    logs.keep_token(word)
    assert (tell(3)["model"], tell(4)["ms"]) == ("***", 4)


@pytest.mark.parametrize("name", ["refreshToken", "authorization"])
def test_a_field_s_name_makes_its_value_a_secret_every_time(name: str) -> None:
    stream = io.StringIO()
    logs.setup("info", stream)
    for _ in range(3):
        logging.getLogger("t").info("told", extra={"fields": {name: SECRET, "n": 1}})
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("kind", [logs.JsonFormatter, logs.TerminalFormatter])
@pytest.mark.parametrize("detail", ["plain", f"refused: Bearer {SECRET}", "two\nlines", "\ud800"])
def test_a_line_that_is_told_is_the_one_that_would_be_logged(
    kind: type[logging.Formatter], detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    logger, fields = logging.getLogger("kiroproxy.told"), {"status": 200, "detail": detail}
    with caplog.at_level(logging.INFO):
        logger.log(logging.WARNING, "request", extra={"fields": fields, "request_id": "req_1"})
        logs.tell(logger, logging.WARNING, "request", fields, "req_1")
    logged, told = caplog.records
    assert abs(told.created - logged.created) < 60 and 0 <= told.msecs < 1000
    told.created, told.msecs = logged.created, logged.msecs
    line = kind().format(told)
    assert line == kind().format(logged)
    assert SECRET not in line and "req_1" in line and "\n" not in line
    assert vars(told).keys() == vars(logged).keys()
