"""Texts and their translations, for the tests, and how many edits lie between two."""

import random

WORDS = ["the", "cat", "sat", "on", "a", "mat", "today", "Dogs", "ran", "home", ",", "well-known"]


def texts(seed: int, count: int) -> list[str]:
    numbers = random.Random(seed)
    return [" ".join(numbers.choices(WORDS, k=numbers.randint(0, 14))) for _ in range(count)]


def changed(sentences: list[str], seed: int) -> list[str]:
    """Return sentences of which some words are others: enough stays for four in a row."""
    numbers = random.Random(seed)
    return [
        " ".join(
            numbers.choice(WORDS) if numbers.random() < 0.15 else word for word in text.split()
        )
        for text in sentences
    ]


def fewest_edits(words: list[str], others: list[str]) -> int:
    """Return Wagner and Fischer's distance."""
    row = list(range(len(others) + 1))
    for number, word in enumerate(words, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(others, 1):
            diagonal, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]
