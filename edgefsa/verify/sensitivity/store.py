"""The file that keeps what was measured, so that what was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgefsa.artifacts import sha256_of_bytes, write_json
from edgefsa.cache import cache_folder
from edgefsa.errors import InputError

FORMAT = 1


class TrialStore:
    """Records by kind and by the blocks that were left in float; the file holds each one once it was put.

    `facts` say what was measured, and on what: graph, ranges, data, target, machine. Each has a file of its own, named
    after a hash over the facts.
    """

    def __init__(self, facts: Mapping[str, Any], folder: Path | None = None) -> None:
        self._facts = dict(facts)
        key = sha256_of_bytes(json.dumps(self._facts, sort_keys=True).encode())
        self.path = (folder or cache_folder("sensitivity")) / f"{key[:32]}.json"
        self._records: dict[tuple[str, frozenset[str]], Any] = {}
        if self.path.is_file():
            self._read()

    def get(self, kind: str, in_float: Collection[str]) -> Any:
        """Return the record, or None where there is none yet."""
        return self._records.get((kind, frozenset(in_float)))

    def put(self, kind: str, in_float: Collection[str], record: Any) -> None:
        """Keep a record, plain values for JSON."""
        self._records[kind, frozenset(in_float)] = record
        rows = [
            {"kind": key, "in_float": sorted(names), "record": item} for (key, names), item in self._records.items()
        ]
        write_json(self.path, {"format": FORMAT, "facts": self._facts, "records": rows})

    def __len__(self) -> int:
        return len(self._records)

    def _read(self) -> None:
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
            if value["format"] != FORMAT:
                raise ValueError(f"format {value['format']}")
            rows = {(row["kind"], frozenset(row["in_float"])): row["record"] for row in value["records"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path} cannot be read ({error}); remove it, and all is measured anew") from None
        self._records = rows
