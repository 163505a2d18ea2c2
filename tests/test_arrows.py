"""The import arrows: data flows one way, and so do imports. Each case runs in a fresh Python."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND_LINE = {"tyro"}
BARS = {"tqdm"}  # torch itself brings it, so only what does without torch can do without it

# What a module may not bring along, however indirectly.
FORBIDDEN = {
    "flow": {"cv2", "torch", "twostream", *COMMAND_LINE, *BARS},
    "flow.tvl1": {"cv2", "torch", "twostream", *COMMAND_LINE, *BARS},
    "flow.tvl1.reference": {"cv2", "torch", "twostream", *COMMAND_LINE, *BARS},
    "flow.files": {"cv2", "torch", "twostream", *COMMAND_LINE, *BARS},
    "flow.video": {"torch", "twostream", *COMMAND_LINE, *BARS},
    "flow.store": {"torch", "twostream", *COMMAND_LINE, *BARS},
    "twostream": {"cv2", "torch", *COMMAND_LINE, *BARS},
    "twostream.models": {"cv2", "sklearn", "pandas", "flow.store", "twostream.data", *COMMAND_LINE},
    "twostream.scores": {
        "cv2",
        "torch",
        "sklearn",
        "pandas",
        "twostream.models",
        *COMMAND_LINE,
        *BARS,
    },
    "twostream.fusion": {
        "cv2",
        "torch",
        "sklearn",
        "pandas",
        "twostream.models",
        *COMMAND_LINE,
        *BARS,
    },
    "twostream.data.annotations": {"cv2", "torch", "pandas", "flow.store", *COMMAND_LINE, *BARS},
    "twostream.data.sampling": {"cv2", "torch", "pandas", "flow.store", *COMMAND_LINE, *BARS},
    "twostream.data.clips": {"pandas", "twostream.models", "twostream.training", *COMMAND_LINE},
    "twostream.evaluation": {"cv2", "torch", "twostream.models", *COMMAND_LINE, *BARS},
    "twostream.report": {"cv2", "torch", "twostream.models", *COMMAND_LINE, *BARS},
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_a_module_brings_only_what_it_needs(module: str) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not FORBIDDEN[module] & set(done.stdout.split())


def imports(path: Path) -> set[str]:
    """The modules that a file names in any import, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "flow").rglob("*.py")), ids=str)
def test_flow_never_imports_twostream(path: Path) -> None:
    assert not any(name.split(".")[0] == "twostream" for name in imports(path))


@pytest.mark.parametrize("package", ["flow", "twostream"])
def test_only_the_command_line_imports_tyro(package: str) -> None:
    files = (ROOT / package).rglob("*.py")
    users = {path for path in files if any(n.split(".")[0] == "tyro" for n in imports(path))}
    command_line = {ROOT / package / "__main__.py", *(ROOT / package / "commands").glob("*.py")}
    assert ROOT / package / "__main__.py" in users
    assert users <= command_line
