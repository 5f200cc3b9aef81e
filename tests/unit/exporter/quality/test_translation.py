"""Texts: the counters give sacrebleu's corpus scores, and RapidFuzz's edits are the fewest."""

import gc
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import bleu, chrf

from exporter.quality.errors import LabelError
from exporter.quality.sums import Sums
from exporter.quality.translation import Translation
from tests.unit.exporter.quality.texts import changed, fewest_edits, texts

ORDERS = ("1", "2", "3", "4")


def bleu_of(sums: Sums) -> float:
    precisions = [
        sums.total("bleu_ngram_matches_total", n=n) / sums.total("bleu_ngrams_total", n=n)
        for n in ORDERS
    ]
    lengths = [sums.total(f"bleu_{side}_tokens_total") for side in ("reference", "hypothesis")]
    brevity = math.exp(min(0, 1 - lengths[0] / lengths[1]))
    return 100 * brevity * math.exp(sum(map(math.log, precisions)) / 4)


def chrf_of(sums: Sums) -> float:
    names = ("matches", "hypothesis_ngrams", "reference_ngrams")
    orders = [[sums.total(f"chrf_{name}_total", n=str(n)) for name in names] for n in range(1, 7)]
    precision = sum(matches / ours for matches, ours, _ in orders) / 6
    recall = sum(matches / theirs for matches, _, theirs in orders) / 6
    return 100 * 5 * precision * recall / (4 * precision + recall)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize(("tokenizer", "lowercase"), [("13a", False), ("intl", True), ("char", False)])  # fmt: skip # noqa: E501
def test_scores_are_sacrebleus(references: int, tokenizer: str, lowercase: bool):  # noqa: FBT001
    truths = texts(1, 150)
    predicted = changed(truths, 2)
    columns = [truths, *(changed(truths, seed) for seed in range(3, 2 + references))]
    task, sums = Translation(tokenizer=tokenizer, lowercase=lowercase), Sums()
    for text, *labels in zip(predicted, *columns, strict=True):
        task.count(text, task.parse(labels), sums)
    reference = bleu.BLEU(
        tokenize=tokenizer, lowercase=lowercase, smooth_method="none", force=True
    ).corpus_score(predicted, columns)
    expected = chrf.CHRF().corpus_score(predicted, columns)

    assert bleu_of(sums) == pytest.approx(reference.score, rel=1e-9)
    assert chrf_of(sums) == pytest.approx(expected.score, rel=1e-9)
    assert 150 == sums.total("bleu_sentences_total")


@given(st.lists(st.sampled_from("ab"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_edits_are_the_fewest(words: list[str], others: list[str]):
    task, sums = Translation(), Sums()
    task.count(" ".join(others), [" ".join(words)], sums)
    inserted, deleted = (
        sums.total("word_edits_total", edit=edit) for edit in ("insertion", "deletion")
    )

    assert fewest_edits(words, others) == sums.total("word_edits_total")
    assert len(others) - len(words) == inserted - deleted
    assert len(words) == sums.total("reference_words_total")


def test_reference_with_the_lowest_rate_is_the_one_that_counts():
    task, sums = Translation(), Sums()
    task.count("the cat sat", ["a dog ran home", "the cat sat down"], sums)

    assert (1, 4) == (sums.total("word_edits_total"), sums.total("reference_words_total"))
    assert 1 == sums.total("word_edits_total", edit="deletion")


@pytest.mark.parametrize(
    ("text", "label"),
    [("", "a b"), ("a b", ""), ("", ""), ("a", "a"), ("   ", ["", " "]), ("\ud800", "\ud800")],
)
def test_texts_without_words_count_without_a_number_made_up(text: str, label: object):
    task, sums = Translation(), Sums()
    task.count(text, task.parse(label), sums)

    assert 1 == sums.total("bleu_sentences_total")
    assert 0 == sums.total("bleu_ngrams_total", n="4")


@pytest.mark.parametrize(
    "label", [None, 1, [], [1], ["a"] * 9, "a" * 5_001, [["a"]], {"a": 1}, True, ["a", None]]
)
def test_labels_that_are_none_are_refused(label: object):
    with pytest.raises(LabelError):
        Translation().parse(label)


def test_outputs_are_texts_and_those_too_long_have_no_token():
    task = Translation()

    assert ["é", "b", None] == task.pack(
        np.array([["é".encode()], [b"b"], [b"x" * 5_001]], dtype=object)
    )
    assert task.canonical("ab") != task.canonical("a")
    assert task.canonical("?") != task.canonical("\ud800")


@pytest.mark.parametrize("prediction", ["é", ["é"], {"b64": "w6k="}])
def test_text_comes_back_in_any_form_of_a_reply(prediction: object):
    assert "é" == Translation().echoed(prediction)


@pytest.mark.parametrize("prediction", [None, 1, [], ["a", "b"], {"b64": "é"}, {"b64": 1}, {}])
def test_what_is_no_text_is_refused(prediction: object):
    with pytest.raises(LabelError):
        Translation().echoed(prediction)


def test_texts_are_not_kept():
    """sacrebleu remembers what it has split into words: 65,536 texts of a server's callers."""
    task = Translation()
    for number in range(50):
        task.count(f"text {number} of a caller", [f"reference {number} of a caller"], Sums())
    gc.collect()

    kept = [one for one in gc.get_objects() if isinstance(one, tuple) and "of a caller" in str(one)]
    assert len(kept) < 10
