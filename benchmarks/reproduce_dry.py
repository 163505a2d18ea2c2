"""A dry run: every command of a row for real, on the part of the data that is there, in small.

What it measures says nothing of the published number.
"""

from collections.abc import Sequence
from dataclasses import replace

from reproduce_plan import Step

SMALL = {"--resize": ("64", "84"), "--crop": ("56", "56")}
TRAIN = {**SMALL, "--batch": ("4",), "--clips-at-once": ("4",), "--test-clips": ("2",)}
SCORE = {**SMALL, "--clips": ("2",)}
FEATURES = {**SMALL, "--clips": ("2",), "--length": ("4",)}
LISTS = ("--dataset", "--lists", "--split")


def shortened(step: Step, optimiser_steps: int) -> Step:
    """The same command for a few steps and small clips, of the videos that are there."""
    command, *rest = step.words[1:]
    words = [*step.words[:2], *rest]
    if command == "train":
        for option, values in TRAIN.items():
            words = with_option(words, option, values)
        words = with_option(words, "--steps", (str(optimiser_steps),))
        words = with_option(words, "--warmup-steps", ("0",))
        if "frames" not in words:
            words = with_option(words, "--clip-length", ("4",))
        words.append("--allow-missing")
    elif command == "features":
        for option, values in FEATURES.items():
            words = with_option(words, option, values)
        words = without(words, LISTS)  # whatever the store holds
    elif command == "adopt":
        words.append("--allow-missing")
    elif command == "score" and "--clips" in words:  # not as a short training tests
        for option, values in SCORE.items():
            words = with_option(words, option, values)
    elif command == "svm":
        words.append("--allow-missing")
        words = with_option(words, "--inner-folds", ("2",))
    return replace(step, words=tuple(words))


def with_option(words: Sequence[str], option: str, values: Sequence[str]) -> list[str]:
    """The words with one option set to other values."""
    return [*without(words, (option,)), option, *values]


def without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words less some options and their values."""
    kept, skipping = [], False
    for word in words:
        if word.startswith("--"):
            skipping = word in options
        if not skipping:
            kept.append(word)
    return kept


def value_of(words: Sequence[str], option: str) -> str:
    """The first value of an option that is given."""
    return words[words.index(option) + 1]
