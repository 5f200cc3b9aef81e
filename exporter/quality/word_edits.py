"""What the word error rate is made of: the fewest edits from a reference's words to a sentence's.

By RapidFuzz, whose operations go from the first sequence to the second.
"""

from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from exporter.quality.sums import Sums

EDITS = {"replace": "substitution", "delete": "deletion", "insert": "insertion"}


def count_words(hypothesis: str, references: Sequence[str], sums: Sums) -> None:
    """Count a sentence, compared with the reference whose error rate is the lowest."""
    ours = hypothesis.split()
    words = min((each.split() for each in references), key=lambda each: _rate(each, ours))
    edits = Counter(operation.tag for operation in Levenshtein.editops(words, ours))
    for tag, name in EDITS.items():
        sums.add("word_edits_total", float(edits[tag]), edit=name)
    sums.add("reference_words_total", float(len(words)))


def declare_words(sums: Sums) -> None:
    """Make known every series."""
    for name in EDITS.values():
        sums.add("word_edits_total", 0.0, edit=name)
    sums.add("reference_words_total", 0.0)


def _rate(reference: list[str], hypothesis: list[str]) -> float:
    return Levenshtein.distance(reference, hypothesis) / max(len(reference), 1)
