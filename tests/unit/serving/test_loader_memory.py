"""What a loader knows of the process before it, and when failed versions come again."""

import math
from pathlib import Path

import pytest

from serving.runner.formats import FORMATS
from serving.runner.load_failures import LoadFailures, again
from serving.runner.loader_memory import Deaths, LoaderMemory
from serving.runner.model_folder import ModelSource

LOOKS = (("saved_model.pb", 10, 123_456_789),)
OTHER = (("saved_model.pb", 11, 123_456_789),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runner-0.loader"


def source(version: str, fingerprint: tuple[tuple[str, int, int], ...] = LOOKS) -> ModelSource:
    return ModelSource(version, Path("m"), FORMATS[0], fingerprint)


def test_nothing_is_known_at_first(path: Path):
    memory = LoaderMemory.read(path)

    assert ({}, {}) == (memory.unloaded, memory.deaths)


def test_unloaded_models_are_known_to_the_next_process(path: Path):
    LoaderMemory.read(path).note_unloaded("half", {"1": LOOKS})
    again_ = LoaderMemory.read(path)
    again_.note_unloaded("step", {})
    again_.note_unloaded("half", None)

    assert {"step": {}} == LoaderMemory.read(path).unloaded


def test_each_death_while_loading_counts(path: Path):
    for count in (1, 2, 3):
        LoaderMemory.read(path).note_loading("half", "2", LOOKS)

        assert {("half", "2"): Deaths(LOOKS, count)} == LoaderMemory.read(path).deaths


def test_what_was_not_being_loaded_at_the_death_is_not_counted(path: Path):
    memory = LoaderMemory.read(path)
    memory.note_loading("half", "2", LOOKS)
    memory = LoaderMemory.read(path)
    memory.note_loading("half", "1", LOOKS)
    memory.note_survived("half", "1")
    memory.note_unloaded("step", {})

    assert {("half", "2"): Deaths(LOOKS, 1)} == LoaderMemory.read(path).deaths


def test_other_files_begin_anew(path: Path):
    LoaderMemory.read(path).note_loading("half", "2", LOOKS)
    LoaderMemory.read(path).note_loading("half", "2", OTHER)

    assert {("half", "2"): Deaths(OTHER, 1)} == LoaderMemory.read(path).deaths


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unloaded":1}', '{"unloaded":{"a":{"1":[7]}}}'])
def test_a_broken_file_is_none(path: Path, text: str):
    path.write_text(text)

    assert {} == LoaderMemory.read(path).deaths


def test_no_room_costs_the_memory_only(tmp_path: Path):
    memory = LoaderMemory.read(tmp_path / "nowhere" / "runner-0.loader")
    memory.note_unloaded("half", {"1": LOOKS})

    assert {"half": {"1": LOOKS}} == memory.unloaded


def test_attempts_are_counted_and_end():
    failures = LoadFailures(retries=2, retry_seconds=100.0)

    assert [(1, 100.0), (2, 200.0), (3, math.inf)] == [failures.note(source("2")) for _ in range(3)]
    assert not failures.may_try(source("2"))
    assert failures.may_try(source("2", OTHER))
    assert failures.may_try(source("1"))


def test_fatal_version_waits_until_it_is_allowed():
    failures = LoadFailures(retries=5, retry_seconds=100.0)

    assert 200.0 == failures.note_fatal("2", LOOKS, 2)
    assert not failures.may_try(source("2"))
    assert failures.allow_fatal()
    assert failures.may_try(source("2"))
    assert not failures.allow_fatal()


def test_given_up_is_tried_when_the_files_change():
    failures = LoadFailures(retries=5, retry_seconds=0.0)
    failures.note(source("2"))
    failures.give_up()

    assert not failures.may_try(source("2"))
    assert failures.may_try(source("2", OTHER))


def test_words_for_when():
    assert ("again in 5 s", "no more until its files change") == (again(5.0), again(math.inf))
