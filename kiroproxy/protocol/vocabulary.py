"""What a text weighs in tokens, estimated without Claude's vocabulary.

Theory of operation. A byte-pair tokenizer starts a token at each word, at each run of
punctuation and at each line, and splits long words, numbers and scripts it has seen little
of. All of that is visible in how classes of characters follow each other, which `_tally` counts.

The weights were fitted to the last vocabulary Anthropic published (its tokenizer package for
npm) over manuals in English, Chinese, Japanese and other languages, code in five languages, JSON,
diffs, listings and agents' transcripts; benchmarks/tokens.md has what comes of it on texts that
took no part. Claude 4.7 and later use another vocabulary, which splits Latin words more and
leaves numbers and other scripts alone: the same weights, with words dearer.

Source: Anthropic's note on the 4.7 tokenizer; independent count_tokens comparisons of 4.6
and 4.7 (prose x1.2 to x1.45, code x1.13 to x1.39, Chinese, Japanese and Korean x1.00).
"""

from kiroproxy._tally import Weights

# Words cost this much more from Claude 4.7 on: English prose +35 %, code +20 to +27 %.
_DENSE = 1.42

_WORDS = (
    1.01,  # starts
    4.00,  # stretches: no word is this long; one token would be far off
    1.13,  # humps
    0.45,  # capitals
)
_REST = (
    0.37,  # digits
    0.52,  # numbers
    1.20,  # signs
    -1.85,  # pairs: a run of signs is seldom one token each
    0.86,  # lines
    1.00,  # walls: indentation belongs to the next word; a wall of it does not
    0.74,  # gaps: nor does what stands between two columns
)
_LATIN = 2.10  # a letter with an accent splits its word
# cyrillic, indic, symbols, kana, han, hangul, fullwidth, emoji, greek: as in _tally.SCRIPT_NAMES.
# Full-width signs cost less than 2.2 each, but where they are many the Han are the rare ones.
_OTHER_SCRIPTS = (0.58, 1.34, 0.75, 0.98, 0.90, 1.37, 2.2, 3.0, 1.2)

_NEW, _OLD = (Weights(_WORDS, _REST, (_LATIN, *_OTHER_SCRIPTS), factor) for factor in (_DENSE, 1.0))


def weights(*, dense: bool) -> Weights:
    """Return what a text weighs by; dense: as Claude 4.7 and later."""
    return _NEW if dense else _OLD


def weigh(text: str, *, dense: bool) -> float:
    """Return the estimated tokens of a text before rounding; dense: as Claude 4.7 and later."""
    return weights(dense=dense).weigh([text])


def weigh_all(texts: list[str | bytes], *, dense: bool) -> float:
    """Return the estimated tokens of several texts together; bytes are UTF-8.

    Cost: see _tally.tally.
    """
    return weights(dense=dense).weigh(texts)
