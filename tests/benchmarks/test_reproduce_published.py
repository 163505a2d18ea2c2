"""The published numbers and what repeats them.

Known answers: speeds that are quotients of the published ones, with the tolerance of their
rounding; GPU hours, counted from the commands and the networks. Properties: every command is one
that the real command line takes, and trains the experiment that its row names. Refusals in a
sentence.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from p3d_speed import multiply_adds
from reproduce_measure import NETWORKS
from reproduce_plan import Given, Step, missing, named, steps_of, wanted
from reproduce_published import FILE, Published, Row, load

import flow.__main__
import twostream.__main__
from flow.errors import InputError
from twostream.commands.adopt import Adopt
from twostream.commands.evaluate import Evaluate
from twostream.commands.features import Features
from twostream.commands.fuse import Fuse
from twostream.commands.score import Score
from twostream.commands.svm import SVM
from twostream.commands.train import Train
from twostream.experiments import EXPERIMENTS, Experiment
from twostream.models import MODELS

COMMANDS = {
    "adopt": Adopt,
    "train": Train,
    "score": Score,
    "fuse": Fuse,
    "evaluate": Evaluate,
    "features": Features,
    "svm": SVM,
}
# The official lists (UCF101: Soomro et al. 2012; HMDB51: Kuehne et al. 2011), splits 1 to 3.
TESTED = {"ucf101": {"1": 3783, "all": 11_213}, "hmdb51": {"all": 4590}}
UCF101_VIDEOS, KINETICS_VIDEOS = 13_320, 20_000
FLOPS = 1e13
PUBLISHED = load()
MEASURED = {
    f"{name}: {row.name}": row
    for name, table in PUBLISHED.tables.items()
    for row in table.rows
    if not row.context
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """All that any row needs, by paths with a space in them."""
    folder = tmp_path_factory.mktemp("my data")
    names = wanted(PUBLISHED, MEASURED.values())
    options = {kind: dict.fromkeys(each, folder) for kind, each in names.items()}
    return Given(dict.fromkeys(names["store"], folder), **options)


@pytest.fixture(scope="module")
def parsed() -> Iterator[Callable[[Step], Any]]:
    """What the real command line makes of a step, without running it."""
    monkeypatch = pytest.MonkeyPatch()
    calls: list[Any] = []
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "__call__", lambda self: calls.append(self) or 0)

    @functools.wraps(flow.__main__.extract_videos)
    def extract(*values: Any, **options: Any) -> int:
        calls.append((values, options))
        return 0

    monkeypatch.setattr(flow.__main__, "extract_videos", extract)
    mains = {"twostream": twostream.__main__.main, "flow": flow.__main__.main}

    @functools.cache
    def parse(step: Step) -> Any:
        assert mains[step.words[0]](list(step.words[1:])) == 0
        return calls.pop()

    yield parse
    monkeypatch.undo()


@pytest.mark.parametrize("row", MEASURED.values(), ids=MEASURED)
def test_commands_are_those_of_the_command_line(
    row: Row, given: Given, parsed: Callable[[Step], Any]
) -> None:
    steps = steps_of(PUBLISHED, row, given, Path("out"), Path("runs"))
    made = [parsed(step) for step in steps]
    if not row.plan:
        assert row.network in NETWORKS
        return
    assert len({step.name for step in steps}) == len(steps)
    trained = [command.experiment for command in made if isinstance(command, Train)]
    if row.experiment:
        train = [s for s in steps if s.words[1:3] == ("train", row.experiment)][-1]
        check_experiment(trained[-1], EXPERIMENTS[row.experiment](), train)
    else:
        assert not trained
    written = " ".join(str(step) for step in steps)
    for split in ("1", "2", "3") if "{split}" in row.result else (row.split,):
        result = Path(row.result.format(runs="runs", split=split))
        assert str(result.parent).rpartition("/")[0] in written


def check_experiment(found: Experiment, base: Experiment, step: Step) -> None:
    """Only what the command says differs from the named experiment."""
    differ = {f.name for f in fields(base) if getattr(found, f.name) != getattr(base, f.name)}
    options = {word[2:].replace("-", "_") for word in step.words if word.startswith("--")}
    assert differ <= options


def test_a_store_that_is_not_given_is_extracted_first(given: Given, tmp_path: Path) -> None:
    bare = Given(given.data, {}, given.lists, given.weights)
    row = MEASURED["p3d_ucf101: P3D mixed"]
    steps = steps_of(PUBLISHED, row, bare, tmp_path, tmp_path / "runs")
    store = str(tmp_path / "stores" / "ucf101")
    assert steps[0].words == ("flow", "extract", str(given.data["ucf101"]), store)
    assert steps[1].words[steps[1].words.index("--store") + 1] == store
    assert missing(PUBLISHED, row, bare) == {}


def test_the_paper_is_trained_as_it_says(given: Given, parsed: Callable[[Step], Any]) -> None:
    row = MEASURED["p3d_ucf101: P3D mixed"]
    commands = [parsed(step) for step in steps_of(PUBLISHED, row, given, Path("out"), Path("runs"))]
    frames, clips = (c for c in commands if isinstance(c, Train))
    assert (frames.experiment.clip_length, frames.experiment.crop) == (1, (224, 224))
    one = clips.experiment
    assert (one.batch, one.steps, one.rate, one.rate_drop_every) == (128, 7500, 0.001, 3000)
    assert (one.dropout, one.resize, one.crop, one.clip_length) == (0.9, (182, 242), (160, 160), 16)
    assert one.weights == frames.run
    assert clips.streams == ("rgb",)


@pytest.mark.parametrize("row", MEASURED.values(), ids=MEASURED)
def test_every_number_has_a_source_and_a_reason(row: Row) -> None:
    if row.published is None:
        assert not row.source
        return
    source = PUBLISHED.sources[row.source]
    assert source.title
    assert source.year > 2010
    assert source.url.startswith("https://")
    assert PUBLISHED.reasons[row.because].endswith(".")


def test_every_need_can_be_got() -> None:
    names = wanted(PUBLISHED, MEASURED.values())
    for name in {name for each in names.values() for name in each}:
        assert PUBLISHED.needs[name].what
        assert PUBLISHED.needs[name].get
    assert {f"extract_{name}" for name in names["store"]} <= set(PUBLISHED.plans)


@pytest.mark.parametrize("row", [r for r in MEASURED.values() if r.metric == "speed"], ids=str)
def test_speeds_are_quotients_of_the_published_ones(row: Row) -> None:
    first, second = map(float, re.findall(r"\d+\.\d", row.where))
    assert row.published == pytest.approx(first / second, abs=5e-4)
    most = max(
        abs((first + a) / (second + b) - row.published)
        for a in (-0.05, 0.05)
        for b in (-0.05, 0.05)
    )
    assert most <= row.tolerance <= 1.1 * most


PLANS = [name for name, plan in PUBLISHED.plans.items() if plan.gpu_hours]


@pytest.mark.parametrize("name", PLANS)
def test_gpu_hours_are_those_of_the_multiply_adds(
    name: str, given: Given, parsed: Callable[[Step], Any]
) -> None:
    row = next(row for row in MEASURED.values() if row.plan == name)
    steps = steps_of(PUBLISHED, row, given, Path("out"), Path("runs"))
    made = [parsed(step) for step in steps if step.name.startswith(name)]
    trained = [command for command in made if isinstance(command, Train)]
    operations = sum(of_training(each) for each in trained)
    scored = trained[-1:] if name != "two_stream_kinetics" else trained
    operations += sum(of_scoring(each) for each in scored)
    operations += sum(of_features(each) for each in made if isinstance(each, Features))
    if isinstance(made[0], Adopt):
        operations += of_adopted(made[0], made[1])
    assert PUBLISHED.plans[name].gpu_hours == pytest.approx(operations / FLOPS / 3600, abs=0.05)


def of_training(train: Train) -> float:
    one = train.experiment
    splits = 3 if train.data.split == "all" else 1
    each = sum(3 * 2e9 * gmac(one.model, one.clip_length, one.crop, s) for s in train.streams)
    return each * one.batch * one.steps * splits


def of_scoring(train: Train) -> float:
    one = train.experiment
    videos = TESTED[train.data.dataset][train.data.split]
    each = sum(2e9 * gmac(one.model, one.clip_length, one.crop, s) for s in train.streams)
    return each * one.test_clips * videos


def of_features(features: Features) -> float:
    clips = (features.clips or 20) * (2 if features.mirror else 1)
    each = 2e9 * gmac(features.model, 16, (160, 160), features.streams[0])
    return each * clips * UCF101_VIDEOS


def of_adopted(adopt: Adopt, score: Score) -> float:
    assert score.clips is not None
    each = 2e9 * gmac(adopt.model, 16, (160, 160), adopt.stream)
    return each * score.clips * KINETICS_VIDEOS


@functools.cache
def gmac(model: str, length: int, crop: tuple[int, int], stream: str) -> float:
    channels = 3 if stream == "rgb" else 2
    with torch.device("meta"):  # shapes are enough
        network = MODELS[model](101, channels)
    return multiply_adds(network, (channels, length, *crop))


def broken(old: str, new: str, folder: Path) -> Path:
    text = FILE.read_text()
    assert old in text
    path = folder / "published.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('metric = "size"', 'metric = "weight"', "unknown metric 'weight'"),
        ('source = "p3d"', 'source = "p4d"', "names 'p4d', which is not there"),
        (', source = "p3d", where = "table 1" }', " }", "a number without a source"),
        ("tolerance = 0.5, ", "", "a number with a tolerance"),
        ("tolerance = 0.5, ", "tolerance = -0.5, ", "a number with a tolerance"),
        ('network = "P3D-A", ', "", "names no network"),
        ('plan = "resnet50"', 'plan = "resnet51"', "names 'resnet51'"),
        ('name = "P3D-B, size"', 'name = "P3D-A, size"', "have one name"),
        ('name = "P3D-B, size"', 'nam = "P3D-B, size"', "does not hold published numbers"),
        ("[sources.p3d]", "[sources.p3d", "does not hold published numbers"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        load(broken(old, new, tmp_path))


def test_paths_are_given_by_name() -> None:
    assert named("store", ["ucf101=a b"], ["ucf101", "hmdb51"]) == {"ucf101": Path("a b")}
    assert named("store", ["a"], ["ucf101"]) == {"ucf101": Path("a")}
    assert named("weights", ["resnet50=x=y"], ["resnet50"]) == {"resnet50": Path("x=y")}
    for value in ("a", "kinetics=a", "ucf101="):
        with pytest.raises(InputError, match="takes ucf101=PATH, hmdb51=PATH"):
            named("store", [value], ["ucf101", "hmdb51"])
    with pytest.raises(InputError, match="takes nothing"):
        named("lists", ["a"], [])


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone, given as --lists ucf101, is not there"):
        Given({}, {}, {"ucf101": tmp_path / "gone"}, {})


def test_every_table_of_the_file_is_measured() -> None:
    published: Published = PUBLISHED
    assert set(published.tables) == {
        "p3d_sizes",
        "p3d_ucf101",
        "p3d_ucf101_svm",
        "p3d_kinetics",
        "two_stream",
    }
    assert all(
        not row.plan for table in published.tables.values() for row in table.rows if row.context
    )
