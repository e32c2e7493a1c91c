"""What Kiro's own counts say of our estimates: one factor a model, learnt from its answers.

Rules of this file: pure arithmetic, no clock and no I/O. A factor is the median of the last
ratios, so that single wrong numbers do not show; it is bounded, so that many cannot do harm. It
lives in one worker's memory: after a start the estimate stands alone until enough was heard.

Theory of operation. Kiro counts with the model's vocabulary, which nobody else has, and adds a
prompt of its own. Where a request is long that addition is small, and the ratio of the two counts
is how far the estimate of this model's vocabulary, or of what its users write, is off.

Source: metadataEvent's token usage, or contextUsageEvent's percentage of the window.
"""

import statistics
from collections import deque
from typing import Final

LEAST_TOKENS: Final = 4_000  # below it, what Kiro adds by itself weighs too much
HEARD: Final = 31  # ratios a model; an hour of one person's work
ENOUGH: Final = 5
LOWEST, HIGHEST = 0.7, 1.5  # the estimate is nowhere further off than this
FARTHEST: Final = 2.5  # either way; more is a wrong window or another request, not a vocabulary
MODELS: Final = 64


class Corrections:
    """One worker's factors. Order: hear(…) after an answer, factor(…) before the next."""

    def __init__(self) -> None:
        self._heard: dict[str, deque[float]] = {}
        self._factors: dict[str, float] = {}  # of the models that were heard of enough

    def hear(self, model: str, estimated: int, counted: int) -> bool:
        """Take in one answer's counts. Returns whether the model's factor is different now.

        Units: tokens of the same request, by our estimate without correction and by Kiro.
        """
        if estimated < LEAST_TOKENS or not 1 / FARTHEST <= counted / estimated <= FARTHEST:
            return False
        heard = self._heard.get(model)
        if heard is None:
            if len(self._heard) >= MODELS:  # more names than Kiro has models
                return False
            heard = self._heard[model] = deque(maxlen=HEARD)
        heard.append(counted / estimated)
        if len(heard) < ENOUGH:
            return False
        before = self.factor(model)
        self._factors[model] = round(min(max(statistics.median(heard), LOWEST), HIGHEST), 3)
        return self._factors[model] != before

    def factor(self, model: str) -> float:
        """Return what to multiply an estimate by."""
        return self._factors.get(model, 1.0)

    def correct(self, model: str, tokens: int) -> int:
        """Return the better estimate."""
        factor = self._factors.get(model)
        return tokens if factor is None else round(tokens * factor)

    def factors(self) -> dict[str, float]:
        """Return all factors in force, by model."""
        return dict(self._factors)
