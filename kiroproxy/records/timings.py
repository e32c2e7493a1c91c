"""Durations as counts in logarithmic buckets, and percentiles of any sum of them.

Rules of this file: pure. A bucket is a quarter of a power of two, so a percentile is off by at
most a tenth: fine for a chart, and two hours or a year of it have the same size.
"""

import math
from collections.abc import Mapping

_A_POWER = 4


def bucket_of(ms: int) -> int:
    """Return the bucket of a duration; everything up to 1 ms is bucket 0."""
    return int(math.log2(ms) * _A_POWER) + 1 if ms > 1 else 0


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration below which a share lies, None where nothing was counted."""
    total = sum(counts.values())
    if not total:
        return None
    wanted, seen = share * total, 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted:
            return round(_middle(bucket), 1)
    raise AssertionError("the counts add up to their own sum")


def _middle(bucket: int) -> float:
    """Return the geometric middle of a bucket."""
    return 2 ** ((bucket - 0.5) / _A_POWER) if bucket else 1.0
