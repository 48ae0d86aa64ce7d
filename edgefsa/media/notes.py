"""What was noticed while pictures were read, in one line for each kind."""

from __future__ import annotations

from pathlib import Path

from edgefsa.media.pictures import Picture

_NAMED = 3


class PictureNotes:
    """Gathers the notes of many pictures: which files were turned, shortened to 8 bits, and so on."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._count = 0

    def add(self, path: str | Path, picture: Picture) -> None:
        """Count a picture and its notes."""
        self._count += 1
        for note in picture.notes:
            self._names.setdefault(note, []).append(Path(path).name)

    def lines(self) -> list[str]:
        """Return a line for each kind of note: how many pictures it is about, the first names, and what it says."""
        return [f"{self._whom(names)}: {note}" for note, names in self._names.items()]

    def _whom(self, names: list[str]) -> str:
        if self._count == 1:
            return names[0]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"{len(names)} of {self._count} pictures ({', '.join(names[:_NAMED])}{more})"
