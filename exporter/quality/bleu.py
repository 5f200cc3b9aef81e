"""What BLEU is made of, by sacrebleu: n-grams of a sentence, and lengths in tokens.

Post, "A call for clarity in reporting BLEU scores" (2018).
"""

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

from exporter.quality.sums import Sums

ORDERS = ("1", "2", "3", "4")


class Bleu:
    """Counts the n-grams of sentences; BLEU of all of them is worked out of the sums."""

    def __init__(self, *, tokenizer: str, lowercase: bool) -> None:
        """`tokenizer` is one of sacrebleu's that need nothing else."""
        # force: sentences that look tokenised already are none of a server's business.
        self._metric = BLEU(
            tokenize=tokenizer, lowercase=lowercase, smooth_method="none", force=True
        )

    def count(self, hypothesis: str, references: Sequence[str], sums: Sums) -> None:
        """Count a sentence; of several references the length nearest to its own counts."""
        found = self._metric.corpus_score([hypothesis], [[each] for each in references])
        for order, matches, ngrams in zip(ORDERS, found.counts, found.totals, strict=True):
            sums.add("bleu_ngram_matches_total", float(matches), n=order)
            sums.add("bleu_ngrams_total", float(ngrams), n=order)
        sums.add("bleu_hypothesis_tokens_total", float(found.sys_len))
        sums.add("bleu_reference_tokens_total", float(found.ref_len))
        sums.add("bleu_sentences_total")
        self._forget()

    def _forget(self) -> None:
        """Drop the texts that sacrebleu keeps: it would hold the last 65,536 of all callers."""
        for kind in (type(self._metric.tokenizer), TokenizerRegexp):
            if hasattr(kind.__call__, "cache_clear"):
                kind.__call__.cache_clear()


def declare_bleu(sums: Sums) -> None:
    """Make known every series."""
    for order in ORDERS:
        sums.add("bleu_ngram_matches_total", 0.0, n=order)
        sums.add("bleu_ngrams_total", 0.0, n=order)
    for name in ("hypothesis_tokens", "reference_tokens", "sentences"):
        sums.add(f"bleu_{name}_total", 0.0)
