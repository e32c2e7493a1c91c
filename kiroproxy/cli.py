"""The `kiroproxy` command: arguments → Config → serve.

Rules of this file: nothing heavy is imported before it is known to be needed, so that
`--version`, `--help` and a mistyped flag answer at once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kiroproxy import __version__

if TYPE_CHECKING:
    from kiroproxy.config import Config
    from kiroproxy.errors import ConfigError
    from kiroproxy.loading import Loaded


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the process's exit code."""
    options = _parser().parse_args(arguments)
    run = {
        "serve": _serve,
        "demo": _demo,
        "check": _check,
        "login": _login,
        "import": _import,
        "export": _export,
        "simulate": _simulate,
    }
    from kiroproxy.errors import ConfigError

    try:
        return run[options.command or "serve"](options)
    except ConfigError as fault:
        print(f"kiroproxy: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while nothing was running yet, or the simulator alone
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kiroproxy",
        description="An Anthropic Messages API gateway in front of Kiro.",
        epilog="Without a command: start the gateway. Settings: config.json, KIROPROXY_*, flags.",
    )
    parser.add_argument("--version", action="version", version=f"kiroproxy {__version__}")
    _add_flags(parser, absent=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in (
        ("serve", "start the gateway (the default)"),
        ("demo", "start it on the built-in simulator, without any account"),
        ("check", "check configuration and credentials, and say what is wrong"),
        ("simulate", "run the Kiro simulator alone"),
    ):
        command = commands.add_parser(name, help=text)
        # SUPPRESS: a flag after the command overrides one before it, its absence does not.
        _add_flags(command, absent=argparse.SUPPRESS)
        if name == "serve":
            command.add_argument(
                "--create-config",
                action="store_true",
                help="write a config.json with a random apiKey where there is none",
            )
        if name == "demo":
            command.add_argument(
                "--traffic",
                action="store_true",
                help="send requests through it all the time, so that the web page has something"
                " to show",
            )
    _add_enrolment(commands)
    return parser


def _add_enrolment(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that bring credentials in and out; they listen nowhere."""
    login = commands.add_parser("login", help="log in to Kiro and keep the credential")
    login.add_argument(
        "method",
        nargs="?",
        default="builder-id",
        choices=("builder-id", "idc", "google", "github", "api-key"),
        help="default: builder-id; api-key reads the key from the terminal or a pipe",
    )
    login.add_argument("--start-url", metavar="URL", default="", help="idc: your organisation's")
    login.add_argument("--region", default="", help="where the login lives; api-key: the API's")
    login.add_argument("--priority", type=_priority, default=0, help="smaller is asked first")
    login.add_argument("--no-browser", action="store_true", help="only print the address")
    take = commands.add_parser("import", help="take in the logins of other programs")
    take.add_argument(
        "source",
        metavar="SOURCE",
        help="ide (Kiro IDE's login), cli (kiro-cli's), a file, or - for standard input",
    )
    take.add_argument("--format", choices=("kiroproxy", "kiro-ide", "kiro-cli", "kam"))
    take.add_argument("--dry-run", action="store_true", help="say what would be taken in")
    take.add_argument(
        "--keep-errored", action="store_true", help="also what the other program marks as failed"
    )
    give = commands.add_parser("export", help="write credentials, with secrets, to a new file")
    give.add_argument("target", metavar="FILE", help="must not exist yet; - for standard output")
    give.add_argument("--id", type=int, action="append", default=[], help="only this one; repeat")
    for command in (login, take):
        command.add_argument("--no-verify", action="store_true", help="keep it without asking Kiro")
    for command in (login, take, give):
        for flags, name in ((("-c", "--config"), "config"), (("--credentials",), "credentials")):
            command.add_argument(
                *flags, metavar="FILE", default=argparse.SUPPRESS, help=f"default: {name}.json"
            )


def _add_flags(parser: argparse.ArgumentParser, absent: object) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE", default=absent, help="default: config.json"
    )
    parser.add_argument(
        "--credentials", metavar="FILE", default=absent, help="default: credentials.json"
    )
    parser.add_argument("--host", default=absent, help="address to listen on")
    parser.add_argument("--port", type=_port, default=absent, help="0 picks a free one")
    parser.add_argument("--workers", type=_workers, default=absent, help="worker processes")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default=absent
    )


def _whole(text: str, low: int, high: int) -> int:
    if not text.isdigit() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _priority(text: str) -> int:
    return _whole(text, 0, 1_000_000)


def _workers(text: str) -> int:
    return _whole(text, 1, 256)


def _flags(options: argparse.Namespace) -> dict[str, object]:
    return {
        "host": options.host,
        "port": options.port,
        "workers": options.workers,
        "log_level": options.log_level,
        "credentials_path": Path(options.credentials) if options.credentials else None,
    }


def _examine(options: argparse.Namespace) -> "Loaded":
    from kiroproxy.loading import examine

    # A container may be configured by its environment alone; a file that was named must exist.
    required = bool(options.config) or not os.environ.get("KIROPROXY_API_KEY")
    path = Path(options.config or "config.json")
    return examine(path, os.environ, _flags(options), required=required)


# -- commands ----------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> int:
    from kiroproxy import logs, serve

    path = Path(options.config or "config.json")
    if getattr(options, "create_config", False) and not path.exists():
        _create_config(path)
    loaded = _examine(options)
    logs.setup(loaded.config.log_level)
    for warning in loaded.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    if loaded.faults:
        for fault in loaded.faults:
            print(f"kiroproxy: {fault}", file=sys.stderr)
        return 1
    _require_credentials(loaded.config)
    return serve.run(loaded.config)


def _create_config(path: Path) -> None:
    """Write the smallest configuration there is, readable by its owner only."""
    import json
    import secrets

    key = f"sk-{secrets.token_hex(24)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"apiKey": key}, file, indent=2)
        file.write("\n")
    print(f"There was no {path}: wrote one with a new apiKey that clients have to present.")
    print(f"  export ANTHROPIC_API_KEY={key}", flush=True)


def _require_credentials(config: "Config") -> None:
    """Refuse to serve nobody. Raises: ConfigError."""
    from kiroproxy.accounts.store import Store
    from kiroproxy.errors import ConfigError

    if config.admin_api_key or config.kiro_api_key:
        return
    exists = config.credentials_path.exists()
    store = Store(config.credentials_path, config)
    if store.load(repair=False):  # a worker repairs, and logs what it did
        return
    if store.faults:
        raise store.faults[0]
    raise ConfigError(
        f"{'is empty' if exists else 'does not exist'}, so there is nobody to ask Kiro as",
        file=str(config.credentials_path),
        remedy="Copy one of the credentials.example.*.json files, set KIRO_API_KEY, or try "
        "`kiroproxy demo`, which needs no account",
    )


def _check(options: argparse.Namespace) -> int:
    loaded = _examine(options)
    warnings, faults = list(loaded.warnings), list(loaded.faults)
    summary = _check_credentials(loaded.config, warnings, faults)
    for warning in warnings:
        print(f"warning: {warning}")
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        print(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} to mend")
        return 1
    verdict = f"no fault, {len(warnings)} to look at" if warnings else "all good"
    print(f"{verdict}: {summary}; would listen on {loaded.config.host}:{loaded.config.port}")
    return 0


def _check_credentials(config: "Config", warnings: list[str], faults: "list[ConfigError]") -> str:
    """Add what is wrong with the credentials. Returns how many there are of which kind."""
    from kiroproxy.accounts.store import Store
    from kiroproxy.errors import ConfigError

    store = Store(config.credentials_path, config)
    try:
        credentials = store.load(repair=False)
        if not store.faults:
            _require_credentials(config)
    except ConfigError as fault:
        faults.append(fault)
        return ""
    faults += store.faults
    warnings += store.warnings
    usable = [each for each in credentials if not each.fault and not each.disabled]
    if not usable and not store.faults:
        faults.append(
            ConfigError(
                "holds no enabled credential",
                file=str(config.credentials_path),
                remedy='Add one, or set "disabled": false on one',
            )
        )
    kinds = [each.auth_method for each in usable]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    return f"{len(usable)} of {len(credentials)} credentials enabled ({counts or 'none'})"


def _login(options: argparse.Namespace) -> int:
    from kiroproxy import enrol

    told = enrol.LoginOptions(
        options.method,
        options.start_url,
        options.region,
        options.priority,
        browser=not options.no_browser,
        verify=not options.no_verify,
    )
    return enrol.login(_settings(options), told)


def _import(options: argparse.Namespace) -> int:
    from kiroproxy import enrol

    told = enrol.ImportOptions(
        options.source,
        options.format or "auto",
        options.dry_run,
        verify=not options.no_verify,
        keep_errored=options.keep_errored,
    )
    return enrol.import_(_settings(options), told)


def _export(options: argparse.Namespace) -> int:
    from kiroproxy import enrol

    return enrol.export(_settings(options), options.target, options.id)


def _settings(options: argparse.Namespace) -> "Config":
    """Return the configuration of a command that serves nobody. Raises: ConfigError."""
    from kiroproxy import logs
    from kiroproxy.loading import examine

    path = Path(options.config or "config.json")
    loaded = examine(path, os.environ, _flags(options), required=bool(options.config))
    # Credentials may come before the first start, which is when the key is made.
    faults = [fault for fault in loaded.faults if fault.key != "apiKey"]
    if faults:
        raise faults[0]
    logs.setup("warning")
    return loaded.config


def _simulate(options: argparse.Namespace) -> int:
    import asyncio

    from kiroproxy.errors import ConfigError
    from kiroproxy.simulator import serve

    try:
        asyncio.run(serve.run(options.host or "127.0.0.1", options.port or 0))
    except OSError as fault:
        raise ConfigError(
            f"the simulator cannot listen there ({fault.strerror})",
            key="host, port",
            remedy="Choose another address or port, or stop what uses it",
        ) from fault
    return 0


def _demo(options: argparse.Namespace) -> int:
    from kiroproxy import demo

    return demo.run(_flags(options), traffic=options.traffic)


if __name__ == "__main__":
    raise SystemExit(main())
