"""What the commands share: messages on standard error, results on standard output, errors in one line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import typer

from edgefsa.errors import EdgeFsaError, InputError

Progress = Callable[[int, int], None]

# The command-line parser's own error, wherever this version of typer keeps it.
_USAGE_ERROR: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")

# For machines; a person reads them with --json.
_HASHES = ("sha256", "fingerprint")

# Which extra brings which module, so that a missing one is named with its remedy.
_EXTRA_OF_MODULE = {
    "torch": "build",
    "onnx": "build",
    "onnxruntime": "build",
    "onnxscript": "build",
    "safetensors": "build",
    "openvino": "cpu",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "rtx",
}


def message(text: str) -> None:
    """Print one line of news on standard error, in place of a progress line that a terminal may show."""
    clear = "\r\033[K" if sys.stderr.isatty() else ""
    print(clear + text, file=sys.stderr, flush=True)


def emit(value: Any, *, as_json: bool, text: str) -> None:
    """Print a command's result on standard output: one JSON value, or the text for people."""
    print(json.dumps(value, indent=1) if as_json else text, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns; columns whose every cell looks like a number are set to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [bool(rows) and all(_is_number(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def facts(values: Mapping[str, Any]) -> str:
    """Lay out names and values, a line each; what is None or empty is left out."""
    shown = {name: _in_words(value) for name, value in values.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in shown.items())


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(item)}" for name, item in value.items() if name not in _HASHES)
    if isinstance(value, (list, tuple)):
        return ", ".join(_in_words(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    return text in ("", "-") or text.rstrip("%").replace(".", "", 1).replace(",", "").lstrip("-").isdigit()


@contextlib.contextmanager
def progress(label: str) -> Iterator[Progress]:
    """Yield a callback (done, total) that shows progress on standard error once a second has passed.

    On a terminal one line is rewritten; elsewhere a line is written every ten seconds at most.
    """
    terminal = sys.stderr.isatty()
    begun = time.monotonic()
    every = 0.2 if terminal else 10.0
    shown = -every
    wrote = False

    def show(done: int, total: int) -> None:
        nonlocal shown, wrote
        now = time.monotonic()
        if now - begun < 1.0 or now - shown < every:
            return
        shown, wrote = now, True
        line = f"{label}: {done}/{total}" if total else f"{label}: {done}"
        print(f"\r{line}\033[K" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if wrote and terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def size_from_text(text: str | None) -> tuple[int, int] | None:
    """Read "HEIGHTxWIDTH" in pixels, for instance 360x480; None stays None."""
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit()) or int(height) == 0 or int(width) == 0:
        raise InputError(f"--size {text} is not HEIGHTxWIDTH in pixels above 0; write for instance --size 360x480")
    return int(height), int(width)


def options_from_text(pairs: Sequence[str]) -> dict[str, Any]:
    """Read "NAME=VALUE" pairs; a value is JSON (2, true, [0, 8, 0, 8]), or else the text itself."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals and text):
            raise InputError(f"--option {pair} is not NAME=VALUE; write for instance --option recurrence=2")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def warn_if_random(weights: Mapping[str, Any]) -> None:
    """Say on standard error that a model's weights are random, where they are."""
    if weights.get("kind") == "random":
        message(
            "note: the weights are random (this model ships none): latency is meaningful, masks and accuracy are not"
        )


def run(command: Callable[[], Any]) -> None:
    """Run the command line and exit with its status; a user's mistake becomes one line and status 2."""
    # So that what is half-written is removed on SIGTERM as it is on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = command()
    except EdgeFsaError as error:
        _stop(str(error))
    except _USAGE_ERROR as error:
        _stop_usage(error)
    except ModuleNotFoundError as error:
        module = (error.name or "").split(".")[0]
        if module not in _EXTRA_OF_MODULE:
            raise
        _stop(f"this needs the package {module}; install it with: pip install 'edgefsa[{_EXTRA_OF_MODULE[module]}]'")
    except BrokenPipeError:
        # The reader (head, less) has gone; keep the interpreter from writing to it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _stop(f"{error.filename or 'file system'}: {(error.strerror or str(error)).lower()}")
    except KeyboardInterrupt:
        message("stopped")
        sys.exit(130)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _stop_usage(error: Any) -> NoReturn:
    if type(error).__name__ == "NoArgsIsHelpError":
        message(error.format_message())
        sys.exit(2)
    program = error.ctx.command_path if error.ctx is not None else "edgefsa"
    _stop(f"{error.format_message().rstrip('.')}; see {program} --help")


def _stop(text: str) -> NoReturn:
    message("error: " + " ".join(text.split()))
    sys.exit(2)
