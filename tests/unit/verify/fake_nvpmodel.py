"""A program nvpmodel that keeps its state in a folder and notes what it is asked to do."""

from __future__ import annotations

from pathlib import Path

NAMES = ("15W", "25W", "MAXN_SUPER")
_PROGRAM = """#!/bin/sh
folder={folder}
case "$1" in
-q) read mode < "$folder/mode"; set -- {names}; shift "$mode"; echo "NV Power Mode: $1"; echo "$mode" ;;
-p) number=0
    for name in {names}; do
        echo "NVPM VERB: POWER_MODEL: ID=$number NAME=$name"
        number=$((number + 1))
    done ;;
-m) echo "begun $2" >> "$folder/log"; sleep {seconds}
    if [ -e "$folder/refuses" ]; then echo "NVPM ERROR: $(cat "$folder/refuses")"; exit 1; fi
    echo "$2" > "$folder/mode"; echo "done $2" >> "$folder/log" ;;
esac
"""


class FakeNvpmodel:
    """The program, in `folder`, which is to come first on PATH; it begins in mode 1, and a switch takes `seconds`."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "nvpmodel"
        program.write_text(_PROGRAM.format(folder=folder, names=" ".join(NAMES), seconds=seconds))
        program.chmod(0o755)
        # As root no sudo is asked; else this one does what it is given.
        (folder / "sudo").write_text('#!/bin/sh\ncase "$1" in --validate) exit 0 ;; esac\nshift\nexec "$@"\n')
        (folder / "sudo").chmod(0o755)
        (folder / "mode").write_text("1\n")

    @property
    def mode(self) -> str:
        """The name of the mode that is on."""
        return NAMES[int((self.folder / "mode").read_text())]

    def log(self) -> list[str]:
        """What was switched to, as lines "begun NUMBER" and "done NUMBER"."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def refuse(self, why: str) -> None:
        """Answer further switches with an error."""
        (self.folder / "refuses").write_text(why)
