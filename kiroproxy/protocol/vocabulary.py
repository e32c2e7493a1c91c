"""What a text weighs in tokens, estimated without Claude's vocabulary.

Theory of operation. A byte-pair tokenizer starts a token at each word, at each run of
punctuation and at each line, and splits long words, numbers and scripts it has seen little
of. All of that is visible in how classes of characters follow each other, which `_tally` counts.

The weights were fitted by least squares to the last vocabulary Anthropic published (the one
its Python SDK carried until 0.38) over Python, TypeScript, JavaScript, C, JSON, HTML,
Markdown and prose in ten languages; 2 kB pieces come out within 3 to 7 % (Chinese and
Vietnamese 10 to 13 %). Claude 4.7 and later use another vocabulary, which splits Latin words
more and leaves numbers and other scripts alone: the same weights, with words dearer.

Source: Anthropic's note on the 4.7 tokenizer; independent count_tokens comparisons of 4.6
and 4.7 (prose x1.2 to x1.45, code x1.13 to x1.39, Chinese, Japanese and Korean x1.00).
"""

from kiroproxy._tally import tally

# Words cost this much more from Claude 4.7 on: English prose +35 %, code +20 to +27 %.
_DENSE = 1.42

_LATIN = 1.26  # a letter with an accent splits its word
# cyrillic, indic, symbols, kana, han, hangul, fullwidth, emoji: as _tally.SCRIPT_NAMES has them.
_OTHER_SCRIPTS = (0.63, 1.43, 2.23, 0.95, 0.85, 1.20, 1.06, 3.0)


def weigh(text: str, *, dense: bool) -> float:
    """Return the estimated tokens of a text before rounding; dense: as Claude 4.7 and later."""
    return weigh_all([text], dense=dense)


def weigh_all(texts: list[str | bytes], *, dense: bool) -> float:
    """Return the estimated tokens of several texts together; bytes are UTF-8.

    Cost: see _tally.tally.
    """
    counts = tally(texts)
    starts, stretches, humps, capitals, digits, signs, pairs, lines, walls, latin = counts[:10]
    words = (
        1.05 * starts
        + 3.00 * stretches  # no word is this long; one token would be far off
        + 1.01 * humps
        + 0.33 * capitals
    )
    rest = (
        0.69 * digits
        + 0.94 * signs
        - 1.00 * pairs  # a run of signs is seldom one token each
        + 1.08 * lines
        + 1.00 * walls  # indentation belongs to the next word; a wall of it does not
    )
    if any(counts[9:]):
        words += _LATIN * latin
        others = zip(_OTHER_SCRIPTS, counts[10:], strict=True)
        rest += sum(weight * count for weight, count in others)
    return words * (_DENSE if dense else 1.0) + rest
