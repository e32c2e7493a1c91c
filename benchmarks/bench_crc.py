"""Which way to sum a CRC-32 is fastest at the lengths that frames have?

8 bytes is a prelude, 123 the rest of a usual text event, 16 KiB a TLS record. Every row pays a
call from Python, which outweighs the short sums and is cheapest for zlib's own C function; among
compiled callers 8 and 123 bytes differ far more. `chosen` is how a frame is summed on this CPU.

Run: make micro
"""

import random
import zlib
from collections.abc import Callable
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kiroproxy._codec import CRC32_PATHS, crc32, crc32_by

WAYS: dict[str, Callable[[bytes], int]] = {"zlib": zlib.crc32, "chosen": crc32}
WAYS |= {path: partial(crc32_by, path) for path in CRC32_PATHS}


@pytest.mark.parametrize("size", [8, 123, 16384])
@pytest.mark.parametrize("way", WAYS)
def bench_sum(benchmark: BenchmarkFixture, way: str, size: int) -> None:
    benchmark.group = f"CRC-32 of {size} bytes"
    data = random.Random(0).randbytes(size)
    total = WAYS[way]
    assert benchmark(total, data) == zlib.crc32(data)
