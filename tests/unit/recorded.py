"""Machines that are played by what they were seen to say: files under a folder, and answers of programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefsa.artifacts import read_toml

SAMPLES = Path(__file__).parent / "machine" / "samples"
BOARDS = sorted(path.stem for path in SAMPLES.glob("*-jetpack*.toml"))


@dataclass(frozen=True)
class Recorded:
    """A recorded machine: `root` is where its file system begins, `answers` are by the name of the program."""

    root: Path
    answers: dict[str, str]

    def ask(self, command: Sequence[str]) -> str:
        """Answer as the program would on that machine; nothing where it has none of that name."""
        return self.answers.get(command[0], "")

    def folders(self) -> list[str]:
        """List the folders of its Python packages."""
        return sorted(str(path) for path in self.root.glob("usr/lib/python3*/dist-packages"))


def play(name: str, root: Path) -> Recorded:
    """Lay a recorded machine out under `root`."""
    recorded = read_toml(SAMPLES / f"{name}.toml")
    for path, text in recorded["files"].items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return Recorded(root, recorded["commands"])
