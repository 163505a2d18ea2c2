"""The tables of a store. Kind: known answer (rows, faults)."""

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import pytest

from extraction import HEIGHT, QUICK, WIDTH
from flow.errors import InputError
from flow.extract import Summary
from flow.status import verify_store
from flow.store import read_meta
from store_files import failures, manifest

pytestmark = pytest.mark.usefixtures("in_process")


def test_the_manifest_has_a_row_a_video(stored: tuple[Path, Summary], videos: Path) -> None:
    store, _ = stored
    rows = manifest(store)
    assert list(rows) == ["bend/SHOUTED", "bend/daria.bend", "long"]
    meta = read_meta(store / "long.zip")
    assert float(rows["long"].pop("seconds")) > 0
    assert float(rows["long"].pop("clipped")) == meta.clipped
    assert rows["long"] == {
        "video": "long",
        "source": "long.avi",
        "bytes": str((videos / "long.avi").stat().st_size),
        "sha256": meta.source_sha256,
        "frames": "36",
        "flows": "35",
        "width": str(WIDTH),
        "height": str(HEIGHT),
        "fps": "10.0",
        "algorithm": "tvl1",
        "solver": "opencv",
        "version": f"opencv {cv2.__version__}",
        "params": json.dumps(asdict(QUICK.params)),
        "short_side": "",
        "step": "1",
        "bound": "20.0",
        "encoding": "symmetric",
        "codec": "jpeg",
        "quality": "95",
        "rgb": "True",
        "status": "stored",
        "damage": "",
    }
    assert rows["bend/SHOUTED"]["source"] == "bend/SHOUTED.AVI"
    assert failures(store) == {}


def test_verify_compares_with_the_manifest(copy: Path) -> None:
    (copy / "long.zip").unlink()
    damaged = copy / "bend" / "SHOUTED.zip"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    faults = verify_store(copy, workers=1, progress=False)
    assert len(faults) == 2
    assert "SHOUTED.zip is no whole zip file" in faults[0]
    assert "long.zip is gone" in faults[1]
    (copy / "manifest.csv").unlink()
    assert any("manifest.csv cannot be read" in fault for fault in verify_store(copy, 1, False))
    (copy / "manifest.csv").write_text("video,other\na,b\n")
    assert any("columns of a manifest" in fault for fault in verify_store(copy, 1, False))
    with pytest.raises(InputError, match="no folder"):
        verify_store(copy / "absent")
