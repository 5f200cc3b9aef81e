"""What chrF is made of: n-grams of characters, white space left out.

Popović, "chrF: character n-gram F-score for automatic MT evaluation" (2015), with beta of 2.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from exporter.quality.sums import Sums

ORDERS = range(1, 7)
# How much more recall weighs than precision.
BETA_SQUARED = 4


class Ngrams(NamedTuple):
    """N-grams of one order: of the hypothesis, of the reference, and those that are in both."""

    hypothesis: int
    reference: int
    matches: int


def count_chrf(hypothesis: str, references: Sequence[str], sums: Sums) -> None:
    """Count a sentence, compared with the reference that it resembles most."""
    ours = _ngrams(hypothesis)
    best = max((_compared(ours, _ngrams(each)) for each in references), key=_score)
    for order, found in zip(ORDERS, best, strict=True):
        sums.add("chrf_hypothesis_ngrams_total", float(found.hypothesis), n=str(order))
        sums.add("chrf_reference_ngrams_total", float(found.reference), n=str(order))
        sums.add("chrf_matches_total", float(found.matches), n=str(order))


def declare_chrf(sums: Sums) -> None:
    """Make known every series."""
    for order in ORDERS:
        for name in ("hypothesis_ngrams", "reference_ngrams", "matches"):
            sums.add(f"chrf_{name}_total", 0.0, n=str(order))


def _ngrams(text: str) -> list[Counter[str]]:
    characters = "".join(text.split())
    return [
        Counter(characters[at : at + order] for at in range(len(characters) - order + 1))
        for order in ORDERS
    ]


def _compared(ours: list[Counter[str]], theirs: list[Counter[str]]) -> list[Ngrams]:
    return [
        # Where the reference is too short for an order, the order says nothing of the sentence.
        Ngrams(hypothesis.total() if reference.total() else 0, reference.total(), matches.total())
        for hypothesis, reference in zip(ours, theirs, strict=True)
        for matches in (hypothesis & reference,)
    ]


def _score(orders: list[Ngrams]) -> float:
    """Return the F-score of one sentence: of mean precision and mean recall over the orders."""
    used = [each for each in orders if each.hypothesis and each.reference]
    if not used:
        return 0.0
    precision = sum(each.matches / each.hypothesis for each in used) / len(used)
    recall = sum(each.matches / each.reference for each in used) / len(used)
    if not precision + recall:
        return 0.0
    return (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
