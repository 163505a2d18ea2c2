"""Known answers, faults: an ablation study from video files to its table."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ablation
import numpy as np
import pytest
from studies import STUDIES, Case, Given, Study, small

from flow.store import read_meta
from video_files import sliding, write

GROUPS = ("one", "two")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short videos of two classes in two groups, and their list."""
    folder = tmp_path_factory.mktemp("ablation")
    lines = ["video,label,group"]
    for group in GROUPS:
        for label, way in (("left", 1), ("right", -1)):
            for take in range(2):
                name = f"{label}_{group}_{take}.avi"
                frames = np.roll(sliding(6, 40, 48)[::way], 7 * take, axis=2)
                write(folder / "videos" / name, frames)
                lines.append(f"{name},{label},{group}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


def tiny(given: Given) -> Case:
    base = small(given)
    changes = {"clip_length": 4, "resize": (32, 40), "crop": (32, 32), "mirror": False}
    changes |= {"steps": 2, "batch": 4, "clips_at_once": 4, "test_clips": 1, "warmup_steps": 0}
    return replace(base, experiment=replace(base.experiment, **changes))


def study(given: Given) -> Study:
    base = tiny(given)
    too_large = replace(base.experiment, blocks=("A",), weights=Path("/nowhere.pth"))
    return Study(
        "Does it matter?",
        "base",
        {
            "base": base,
            "other bound": replace(base, settings=replace(base.settings, bound=4.0)),
            "flow alone": replace(base, share=1.0),
            "broken": replace(base, experiment=too_large),
        },
        seeds=2,
    )


@pytest.fixture
def run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Given], Study]], int]:
    def run(make: Callable[[Given], Study]) -> int:
        monkeypatch.setitem(STUDIES, "blocks", make)
        command = ["ablation.py", "blocks", "--videos", str(data / "videos"), "--at-once", "1"]
        command += ["--lists", str(data / "list.csv"), "--out", str(tmp_path / "out")]
        command += ["--short-side", "32"]
        monkeypatch.setattr(sys, "argv", command)
        return ablation.main()

    return run


def test_from_videos_to_the_table(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(study) == 1  # a run has failed
    out = tmp_path / "out"
    said = capfd.readouterr()
    assert "/nowhere.pth" in said.err
    logs = [path.parent / "log.txt" for path in (out / "streams").glob("*/scores.npz")]
    assert all("step 2/2" in log.read_text() for log in logs)
    assert "step 2/2" not in said.out + said.err
    assert {read_meta(file).height for file in out.glob("stores/*/*.zip")} == {32}
    record = json.loads((out / "blocks" / "study.json").read_text())
    assert len(record["videos"]) == 8
    assert record["answers"]["broken"] == {}
    assert len(record["failures"]["broken"]) == 4  # two streams, two seeds
    for case in ("base", "other bound", "flow alone"):
        assert {name: np.shape(right) for name, right in record["answers"][case].items()} == {
            "rgb": (2, 8),
            "flow": (2, 8),
            "rgb+flow": (2, 8),
        }
    # Frames do not depend on the bound, the fusion on neither: done once, for each of two seeds.
    assert record["answers"]["base"]["rgb"] == record["answers"]["other bound"]["rgb"]
    streams = [path.parent.name for path in (out / "streams").glob("*/scores.npz")]
    assert sorted(name.split("-")[0] for name in streams) == ["flow"] * 4 + ["rgb"] * 2
    alone = record["answers"]["flow alone"]
    assert alone["rgb+flow"] == alone["flow"]

    table = (out / "blocks" / "table.csv").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (out / "streams").rglob("scores.npz")}
    assert run(study) == 1  # goes on, and tries again what has failed
    assert (out / "blocks" / "table.csv").read_bytes() == table
    assert {p: p.stat().st_mtime_ns for p in (out / "streams").rglob("scores.npz")} == before


SCRIPT = """
import sys
from dataclasses import replace
import ablation, test_ablation_study
ablation.STUDIES["blocks"] = test_ablation_study.plain
if __name__ == "__main__":
    sys.exit(ablation.main())
"""


def plain(given: Given) -> Study:
    base = tiny(given)
    kinds = replace(base.experiment, blocks=("B",))
    return Study("?", "base", {"base": base, "B": replace(base, experiment=kinds)}, ("rgb",))


def test_a_killed_study_goes_on_to_the_same_table(
    run: Callable[..., int], tmp_path: Path, data: Path
) -> None:
    assert run(plain) == 0
    wanted = (tmp_path / "out" / "blocks" / "table.csv").read_bytes()

    folder = Path(__file__).parent
    copy = tmp_path / "test_ablation_study.py"
    copy.write_text(Path(__file__).read_text())
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = folder.parent.parent
    path = f"{root / 'benchmarks'}:{folder.parent / 'helpers'}:{tmp_path}"
    out = tmp_path / "killed"
    command = [sys.executable, str(script), "blocks", "--videos", str(data / "videos")]
    command += ["--lists", str(data / "list.csv"), "--out", str(out), "--at-once", "1"]
    command += ["--short-side", "32"]
    environment = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("streams/*/*/*/scores.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "blocks" / "table.csv").exists()
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert (out / "blocks" / "table.csv").read_bytes() == wanted


def test_features_need_weights(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(STUDIES["fusion"]) == 2
    assert "--weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", STUDIES)
def test_videos_can_be_made_smaller_first(name: str) -> None:
    cases = STUDIES[name](Given(weights=None, short_side=48)).cases.values()
    sides = {case.settings.short_side for case in cases}
    assert sides == ({None, 128, 96, 64} if name == "flow_size" else {48})
