"""Tables for GitHub, with the command, the date and the machine that their figures come from."""

from __future__ import annotations

from typing import Any

from _weights import are_shipped

Record = dict[str, Any]
EARLIER = " (**of the weights before these**)"
NOT_MEASURED = "*Not measured yet: `make bench` and `make ablations` do it.*"


def markdown(
    header: list[str], rows: list[list[str]], record: Record | None = None, measured: list[Record] | None = None
) -> str:
    """Lay out a table; columns of numbers stand to the right, and a record's origin stands below.

    `measured` are those of the record's rows that the table shows, where they may come from several runs.
    """
    numeric = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    rule = ["---:" if right else "---" for right in numeric]
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, rule, *rows]]
    return "\n".join([*lines, "", origins(record, measured or [])] if record else lines)


def origin(record: Record) -> str:
    """Say where a record comes from: command, date, machine, or who measured it elsewhere; and if not of these weights.

    Rows that have weights of their own are not looked at: `origins` does that.
    """
    earlier = "" if are_shipped(record) else EARLIER
    if "machine" not in record:
        return f"`{record['command']}`, {record['origin']}{earlier}"
    machine = record["machine"]
    features = " ".join(name for name in machine["cpu_features"] if name.startswith(("avx512_", "amx", "asimddp")))
    return f"`{record['command']}`, {record['date']}, {machine['cpu']}, {machine['cores']} cores, {features}{earlier}"


def origins(record: Record, rows: list[Record]) -> str:
    """Say where the rows of a record come from: its own run, or an earlier one that rows were kept of."""
    models: dict[str, list[str]] = {}
    for row in rows:
        line = row.get("origin", origin(record)) + ("" if are_shipped(row) else EARLIER)
        models.setdefault(line, []).append(row["model"])
    if len(models) < 2:
        return next(iter(models), origin(record))
    return "\n".join(f"- {', '.join(dict.fromkeys(names))}: {line}" for line, names in models.items())


def percent(share: float | None, digits: int = 2) -> str:
    """Write a share of 0 to 1 in percent, without the sign; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def emphasised(cells: list[str]) -> list[str]:
    """Set a row apart from the others."""
    return [f"**{cell}**" for cell in cells]


def _is_number(cell: str) -> bool:
    text = cell.strip("*").lstrip("+-")
    return text in ("", "-") or text.replace(".", "", 1).isdigit()
