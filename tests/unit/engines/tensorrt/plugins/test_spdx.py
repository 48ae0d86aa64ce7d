from __future__ import annotations

from pathlib import Path

from edgefsa.engines.tensorrt.plugins.sources import sources_folder

COMMENTS = {**dict.fromkeys((".cu", ".cuh", ".h", ".cpp"), "//"), **dict.fromkeys((".cmake", ".txt", ".py"), "#")}


def sources() -> list[Path]:
    files = (path for path in sources_folder().rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if path.suffix != ".md")


def test_every_source_names_its_licence_in_its_first_line() -> None:
    assert len(sources()) > 50
    wrong = [
        str(path)
        for path in sources()
        if path.read_text().splitlines()[0] != f"{COMMENTS[path.suffix]} SPDX-License-Identifier: Apache-2.0"
    ]
    assert not wrong


def test_the_readme_names_what_lies_beside_it() -> None:
    folder = sources_folder()
    text = (folder / "README.md").read_text()
    beside = {path.name for path in sources_folder().iterdir()} - {"README.md", "__pycache__"}
    assert not {name for name in beside if f"`{name}`" not in text and f"`{name}/`" not in text}
