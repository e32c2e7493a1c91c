"""benchmarks/README.md and its charts, made from the stored results and nothing else.

Rules of this file: conclusions are ratios, with their spread; where `judge` refuses one, the
refusal stands in its place. Absolute numbers are in the tables, for this machine only.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.compare import judge, plot
from benchmarks.compare.questions import QUESTIONS, Number, Question

Stored = dict[str, Any]
HEAD = """# Benchmarks

Written by `make bench` from the raw results in [results/](results); do not edit.
How to put another gateway under the same load: [rivals.md](rivals.md). The two programs that
make the load: [load/](load/README.md). How near the token counts are: [tokens.md](tokens.md).

## Method

The gateway has CPU 0 for itself; a stand-in for Kiro and a load client, both in C, share CPU 1;
everything is on 127.0.0.1. Gateways run in turn, in an order that changes from round to round:

* **kiroproxy** decodes Kiro's event stream, checks both CRCs and writes Anthropic's events.
* **nginx** passes the same bytes on (`proxy_buffering off`, kept connections, certificate
  checked). It translates nothing: it is the floor, not a rival.
* **httpx+Starlette** passes them on in plain Python: what a Python gateway costs before it
  translates anything.

CPU is user and system time of the gateway's process tree, as the scheduler counts it. Latency
counts from the time at which an event was due, so waiting is never left out. **Only ratios within
one round are conclusions** (median [lowest–highest] over rounds); absolute numbers belong to the
machine they came from.
A round is dropped when the machine was not quiet: a fixed loop took more than 1.3 times its best,
CPU time was stolen, or other processes were busy. Where too few rounds are left, or they
disagree, there is no conclusion and the line says so.

"""

SOAK = """## Clients that leave at random

`make soak`: clients ask for everything the gateway serves (streams, tools, searches, large bodies,
faults of Kiro's) at a low rate, and leave in the upload, before the head, in the middle of the
answer, by FIN or RST, or read slowly or not at all. After the last one everything they brought
has to be gone: sockets, leases, requests in flight, tasks, timers, files; and memory may not grow
between the second and the last third of the time.

"""


def write(folder: Path) -> str:
    """Write README.md and the charts into `folder`; returns the conclusions."""
    results = folder / "results"
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    conclusions = _conclusions(stored)
    parts = [HEAD, "## Conclusions\n\n", conclusions, "\n", _charts(stored, results)]
    parts += [_question(question, stored[question.name]) for question in QUESTIONS
              if question.name in stored]  # fmt: skip
    parts += [
        make(stored[name])
        for name, make in (
            ("memory", _memory),
            ("startup", _startup),
            ("instructions", _instructions),
            ("micro", _micro),
        )
        if name in stored
    ]
    parts += [_soak(stored.get("soak")), _machines(stored)]
    (folder / "README.md").write_text("".join(parts).rstrip() + "\n")
    return conclusions


# -- conclusions ---------------------------------------------------------------------------


def _conclusions(stored: dict[str, Stored]) -> str:
    found = []
    for question in QUESTIONS:
        if question.name not in stored:
            continue
        for number in question.numbers:
            found += [
                _conclusion(question, number, row)
                for row in _rows(question, number, stored[question.name])
                if row.target not in ("nginx", "httpx+Starlette")
            ]
    return "".join(found) or "None yet: run `make bench`.\n"


def _conclusion(question: Question, number: Number, row: judge.Row) -> str:
    about = f"{question.title}, {row.upstream} upstream: {number.title}"
    if row.refusal or not row.ratio:
        return f"* {about}: **no conclusion** ({row.refusal or 'nothing measured'}).\n"
    ratio = spread(row.ratio, 2)
    return f"* {about}: {row.target} needs **{ratio} × nginx**.\n"


def _rows(question: Question, number: Number, stored: Stored) -> list[judge.Row]:
    return judge.rows(question, number, stored["runs"], stored["best_loop_s"])


def spread(value: judge.Spread | None, digits: int) -> str:
    """Median [lowest–highest]."""
    if value is None:
        return "–"
    low, high = f"{value.low:,.{digits}f}", f"{value.high:,.{digits}f}"
    return f"{value.median:,.{digits}f} [{low}–{high}]"


# -- tables --------------------------------------------------------------------------------


def _question(question: Question, stored: Stored) -> str:
    lines = [f"## {question.title[0].upper()}{question.title[1:]}\n\n"]
    if question.notes:
        lines.append(question.notes + "\n\n")
    lines.append("| upstream | gateway | number | on this machine | × nginx | rounds | remarks |\n")
    lines.append("|---|---|---|--:|--:|--:|---|\n")
    for number in question.numbers:
        lines += [_line(number, row) for row in _rows(question, number, stored)]
    return "".join(lines) + "\n"


def _line(number: Number, row: judge.Row) -> str:
    digits = 2 if row.value and row.value.median < 10 else 1
    value = f"{spread(row.value, digits)} {number.unit}" if row.value else "–"
    ratio = "1" if row.target == "nginx" else spread(row.ratio, 2)
    kept = row.value.count if row.value else 0
    rounds = f"{kept}, {row.dropped} dropped" if row.dropped else str(kept)
    refused = [f"no conclusion: {row.refusal}"] if row.refusal else []
    remarks = "; ".join(row.remarks + refused)
    return (f"| {row.upstream} | {row.target} | {number.title} | {value} | {ratio} | {rounds} "
            f"| {remarks} |\n")  # fmt: skip


def _memory(stored: Stored) -> str:
    lines = ["## Memory of open, silent streams\n\n",
             "Resident memory; what the kernel holds for sockets is not in it.\n\n",
             "| upstream | gateway | streams | before | with them | per stream |\n",
             "|---|---|--:|--:|--:|--:|\n"]  # fmt: skip
    for run in stored["runs"]:
        use, streams = run["load"]["gateway"], run["streams"]
        each = (use["rss_kib"] - use["rss_before_kib"]) / streams
        open_now = run["load"]["total"]["events"]  # one event each: how many really opened
        count = f"{streams}" if open_now == streams else f"{open_now} of {streams} opened"
        lines.append(
            f"| {run['upstream']} | {run['target']} | {count} | {use['rss_before_kib'] / 1024:.1f} "
            f"MiB | {use['rss_kib'] / 1024:.1f} MiB | {each:.1f} KiB |\n"
        )
    return "".join(lines) + "\n"


def _startup(stored: Stored) -> str:
    lines = ["## Start-up\n\n",
             "*Ready* is the first whole answer through the gateway.\n\n",
             "| what | seconds | × `python -c pass` | rounds |\n",
             "|---|--:|--:|--:|\n"]  # fmt: skip
    runs = stored["runs"]
    floor = {run["round"]: run["seconds"] for run in runs if run["target"] == "python -c pass"}
    for name in dict.fromkeys(run["target"] for run in runs):
        mine = {run["round"]: run["seconds"] for run in runs if run["target"] == name}
        ratio = judge.Spread.of(taken / floor[at] for at, taken in mine.items())
        value = judge.Spread.of(mine.values())
        lines.append(f"| {name} | {spread(value, 3)} | {spread(ratio, 1)} | {len(mine)} |\n")
    return "".join(lines) + "\n"


def _soak(stored: Stored | None) -> str:
    if stored is None:
        return SOAK + 'None is stored yet: `make soak SOAK="--minutes 30 --store"`.\n\n'
    lines = [
        SOAK,
        "| gateway | minutes | clients | sockets, leases, tasks left "
        "| memory, last third against second | verdict | commit |\n",
        "|---|--:|--:|--:|--:|---|---|\n",
    ]
    for run in stored["runs"]:
        before, after, growth = run["before"], run["after"], run["growth_kib"]
        tasks = after["tasks"] - before["tasks"]
        left = f"{after['clients'] + after['upstream']}, {after['leases']}, {tasks}"
        grown = "–" if growth is None else f"{growth / 1024:+.1f} MiB"
        verdict = "clean" if not run["faults"] else f"**not clean**: {'; '.join(run['faults'])}"
        lines.append(
            f"| {run['way']} | {run['minutes']:g} | {run['clients']:,} | {left} "
            f"| {grown} | {verdict} | {run['commit']} |\n"
        )
    return "".join(lines) + "\n"


def _instructions(stored: Stored) -> str:
    lines = ["## Instructions\n\n",
             "Counted by `valgrind --tool=cachegrind`, start and first calls subtracted; the same "
             "on every run, so a change of 2 % is a change of the code. `make instructions` counts "
             "again and compares.\n\n",
             "| what | instructions | per |\n", "|---|--:|---|\n"]  # fmt: skip
    for name, count in stored["counts"].items():
        lines.append(f"| {name} | {count['instructions']:,.0f} | {count['per']} |\n")
    return "".join(lines) + "\n"


def _micro(stored: Stored) -> str:
    lines = ["## Parts\n\n", "Median time of one call, by pytest-benchmark; ratios within a group "
             "only.\n"]  # fmt: skip
    for group in dict.fromkeys(each["group"] for each in stored["benchmarks"]):
        mine = [each for each in stored["benchmarks"] if each["group"] == group]
        best = min(each["median_s"] for each in mine)
        lines.append(f"\n**{group}**\n\n| | median | × fastest |\n|---|--:|--:|\n")
        for each in sorted(mine, key=lambda each: float(each["median_s"])):
            ratio = each["median_s"] / best
            lines.append(f"| {each['name']} | {_time(each['median_s'])} | {ratio:.2f} |\n")
    return "".join(lines) + "\n"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _machines(stored: dict[str, Stored]) -> str:
    lines = ["## Machine, versions, commands\n\n",
             "| results | date | commit | command |\n", "|---|---|---|---|\n"]  # fmt: skip
    for name, each in stored.items():
        made = each["machine"]
        lines.append(f"| {name} | {made['date']} | {made['commit']} | `{made['command']}` |\n")
    for made in _distinct([each["machine"] for each in stored.values()]):
        packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
        lines.append(
            f"\n{made['cpus']} × {made['cpu']}, Linux {made['kernel']}, Python {made['python']}, "
            f"{made['openssl']}, {made['nginx']}; {packages}.\n"
        )
    return "".join(lines)


def _distinct(machines: list[Stored]) -> list[Stored]:
    keys = ("cpus", "cpu", "kernel", "python", "openssl", "nginx", "packages")
    return list({str([made[key] for key in keys]): made for made in machines}.values())


# -- charts --------------------------------------------------------------------------------


def _charts(stored: dict[str, Stored], folder: Path) -> str:
    charts = {}
    if "paced" in stored:
        charts["cost-per-event"] = _cost_chart(stored)
    if "latency" in stored:
        charts["latency"] = _latency_chart(stored["latency"])
    if "memory" in stored:
        charts["memory"] = _memory_chart(stored["memory"])
    for name, svg in charts.items():
        (folder / f"{name}.svg").write_text(svg)
    return "".join(f"![{name}](results/{name}.svg)\n\n" for name in charts)


def _cost_chart(stored: dict[str, Stored]) -> str:
    question = QUESTIONS[0]
    rows = _rows(question, question.numbers[0], stored["paced"])
    groups = list(dict.fromkeys(row.upstream for row in rows))
    return plot.bars(
        "CPU per event, " + question.title,
        "µs",
        groups,
        _series(groups, rows, lambda r: r.upstream),
    )


def _latency_chart(stored: Stored) -> str:
    question = next(each for each in QUESTIONS if each.name == "latency")
    rows = [(number.title.removeprefix("added to "), row)
            for number in question.numbers for row in _rows(question, number, stored)
            if row.target != "httpx+Starlette"]  # fmt: skip
    groups = list(dict.fromkeys(title for title, _ in rows))
    titles = {id(row): title for title, row in rows}
    series = _series(groups, [row for _, row in rows], lambda row: titles[id(row)])
    return plot.bars("Latency added to a direct connection", "µs", groups, series)


def _series(groups: list[str], rows: list[judge.Row], group_of: Any) -> dict[str, Any]:
    series: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        mine = series.setdefault(row.target, [() for _ in groups])
        if row.value:
            value = (row.value.median, row.value.low, row.value.high)
            mine[groups.index(group_of(row))] = value
    return series


def _memory_chart(stored: Stored) -> str:
    found: dict[str, dict[float, list[float]]] = {}
    for run in stored["runs"]:
        use = run["load"]["gateway"]
        mine = found.setdefault(f"{run['target']}, {run['upstream']}", {0: []})
        mine[0].append(use["rss_before_kib"] / 1024)
        mine.setdefault(run["load"]["total"]["events"], []).append(use["rss_kib"] / 1024)
    series = {
        name: sorted((at, statistics.median(values)) for at, values in mine.items())
        for name, mine in found.items()
    }
    return plot.lines("Resident memory over open streams", "MiB", series)
