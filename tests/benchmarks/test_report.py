"""The report, made from stored results."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.compare import plot, report

MACHINE = {
    "date": "2026-01-02 03:04 UTC", "command": "python -m benchmarks.compare", "commit": "abc",
    "cpu": "a CPU", "cpus": 2, "kernel": "6", "python": "3.11", "openssl": "OpenSSL 3",
    "nginx": "nginx/1", "packages": {"uvicorn": "1"},
}  # fmt: skip
QUIET = {"steal": 0.0, "foreign": 0.0, "beside": 0.0, "load_average": 0.1}
HISTOGRAM = {"count": 1, "mean": 1.0, "p50": 100, "p90": 1, "p99": 100, "p99.9": 1, "max": 1}


def run(round: int, target: str, cost: float, loop_s: float = 0.01) -> dict[str, Any]:
    load = {
        "gateway": {"cpu_us_per_event": cost, "rss_kib": 60_000, "rss_before_kib": 50_000},
        "window_s": 2.0, "events": 20_000, "harness_bound": False, "stalls": 0, "bad_answers": 0,
        "lost_events": 0, "unexpected_end": 0, "total": {"events": 100},
    }  # fmt: skip
    return {
        "upstream": "plain", "round": round, "target": target, "load": load, "streams": 100,
        "stand_in": {"lateness_us": HISTOGRAM, "left_running": 0},
        "noise": {**QUIET, "loop_s": loop_s},
    }  # fmt: skip


def stored(folder: Path, name: str, **content: Any) -> None:
    (folder / "results").mkdir(exist_ok=True)
    text = json.dumps({"machine": MACHINE, **content})
    (folder / "results" / f"{name}.json").write_text(text)


def rounds(count: int, loop_s: float = 0.01) -> list[dict[str, Any]]:
    costs = {"kiroproxy": 36.0, "nginx": 30.0, "httpx+Starlette": 270.0}
    return [run(at, name, cost + at, loop_s) for at in range(count) for name, cost in costs.items()]


def test_conclusions_are_ratios_with_their_spread(tmp_path: Path) -> None:
    stored(tmp_path, "paced", best_loop_s=0.01, runs=rounds(3))
    conclusions = report.write(tmp_path)
    assert "kiroproxy needs **1.19 [1.19–1.20] × nginx**" in conclusions
    text = (tmp_path / "README.md").read_text()
    assert conclusions in text
    assert "| plain | kiroproxy | CPU per event | 37.0 [36.0–38.0] µs |" in text
    assert "abc" in text


def test_a_noisy_session_gets_no_conclusion_but_a_reason(tmp_path: Path) -> None:
    stored(tmp_path, "paced", best_loop_s=0.01, runs=rounds(3, loop_s=0.02))
    conclusions = report.write(tmp_path)
    assert "**no conclusion** (0 rounds kept, 3 dropped" in conclusions
    assert "needs" not in conclusions


def test_a_report_is_the_same_when_written_again(tmp_path: Path) -> None:
    stored(tmp_path, "paced", best_loop_s=0.01, runs=rounds(3))
    report.write(tmp_path)
    first = (tmp_path / "README.md").read_text()
    report.write(tmp_path)
    assert (tmp_path / "README.md").read_text() == first


def test_every_kind_of_result_has_its_table(tmp_path: Path) -> None:
    stored(tmp_path, "memory", runs=[run(0, "kiroproxy", 1)])
    stored(tmp_path, "startup", runs=[
        {"round": 0, "target": "python -c pass", "seconds": 0.02},
        {"round": 0, "target": "kiroproxy ready", "seconds": 0.5},
    ])  # fmt: skip
    stored(tmp_path, "instructions", counts={"codec": {"instructions": 1234, "per": "event"}})
    micro = {"group": "g", "name": "fast", "median_s": 2e-6, "iqr_s": 0, "rounds": 9}
    stored(tmp_path, "micro", benchmarks=[micro, micro | {"name": "slow", "median_s": 3e-6}])
    report.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| plain | kiroproxy | 100 | 48.8 MiB | 58.6 MiB | 100.0 KiB |" in text
    assert "| kiroproxy ready | 0.500 [0.500–0.500] | 25.0 [25.0–25.0] | 1 |" in text
    assert "| codec | 1,234 | event |" in text
    assert "| slow | 3 µs | 1.50 |" in text


def test_the_soak_is_explained_before_there_is_one(tmp_path: Path) -> None:
    report.write(tmp_path)
    assert "None is stored yet: `make soak" in (tmp_path / "README.md").read_text()


def test_a_soak_is_told_with_what_was_left(tmp_path: Path) -> None:
    before = {"clients": 0, "upstream": 0, "leases": 0, "tasks": 6}
    ran = {"minutes": 30.0, "clients": 9000, "before": before, "commit": "abc"}
    stored(tmp_path, "soak", runs=[
        {"way": "1 worker", "growth_kib": 512.0, "after": before, "faults": [], **ran},
        {"way": "2 workers", "growth_kib": None, "after": before | {"leases": 3, "tasks": 8},
         "faults": ["3 leases left"], **ran},
    ])  # fmt: skip
    report.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| 1 worker | 30 | 9,000 | 0, 0, 0 | +0.5 MiB | clean | abc |" in text
    assert "| 2 workers | 30 | 9,000 | 0, 3, 2 | – | **not clean**: 3 leases left | abc |" in text


def test_charts_are_well_formed_and_hold_their_numbers(tmp_path: Path) -> None:
    stored(tmp_path, "paced", best_loop_s=0.01, runs=rounds(3))
    stored(tmp_path, "memory", runs=[run(0, "kiroproxy", 1)])
    report.write(tmp_path)
    for name, shown in (("cost-per-event", "271"), ("memory", "100")):
        tree = ElementTree.parse(tmp_path / "results" / f"{name}.svg")
        assert shown in [element.text for element in tree.iter()]


@pytest.mark.parametrize("top", [0.4, 1, 7, 99, 100, 101, 54_321])
def test_no_bar_leaves_its_chart(top: float) -> None:
    chart = ElementTree.fromstring(plot.bars("t", "µs", ["a"], {"s": [(top, top, top)]}))
    for bar in chart.iter("{http://www.w3.org/2000/svg}rect"):
        y, height = float(bar.get("y", 0)), float(bar.get("height", 0))
        assert 0 <= y <= y + height <= plot.HEIGHT
