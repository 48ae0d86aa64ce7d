"""The only place that prints: results on standard output, messages and progress on standard error, errors in one line.

rich lays tables out and draws progress. It is imported on first use, so that `edgefsa --help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from edgefsa.errors import EdgeFsaError, InputError

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.table import Table

Progress = Callable[[int, int], None]

# The command-line parser's own error, wherever this version of typer keeps it.
_USAGE_ERROR: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")

# For machines; a person reads them with --json.
_HASHES = ("sha256", "fingerprint")

# Which extra brings which module, beside the runtimes, which their targets know.
_EXTRA_OF_MODULE = {
    **dict.fromkeys(("torch", "onnx", "onnxscript", "safetensors"), "build"),
    **dict.fromkeys(("matplotlib", "jinja2"), "report"),
}
# A file or a pipe has no width: lines stay whole there.
_NO_WIDTH = 1_000_000
_FIRST_SHOWN_S = 1.0
_SHOWN_EVERY_S = 0.2

# Set by --json; the one display that is open, or none.
_for_a_program = False
_displays: list[Display] = []


def for_a_program(json_asked: bool) -> bool:
    """Take note of whether --json was given: progress is then not shown. Return what it gets, as typer asks for."""
    global _for_a_program
    _for_a_program = json_asked
    return json_asked


def message(text: str) -> None:
    """Print one line of news on standard error, above a progress bar that a terminal may show."""
    print(text, file=sys.stderr, flush=True)


def confirm(question: str) -> bool:
    """Ask on standard error and return whether the answer is yes; InputError where nobody is there to answer."""
    if not sys.stdin.isatty():
        raise InputError("this asks before it goes on, and nobody is there to answer; give --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def emit(value: Any, *, as_json: bool, text: str) -> None:
    """Print a command's result on standard output: one JSON value, or the text for people."""
    print(json.dumps(value, indent=1) if as_json else text, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns that fit the terminal; columns whose every cell looks like a number are set right.

    In a terminal that is too narrow, cells other than numbers are broken over several lines.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    laid_out = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column, name in enumerate(header):
        numeric = bool(rows) and all(_is_number(row[column]) for row in rows)
        laid_out.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        laid_out.add_row(*(Text(cell, no_wrap=_is_number(cell)) for cell in row))
    return _for_standard_output(laid_out)


def facts(values: Mapping[str, Any]) -> str:
    """Lay out names and values, a line each; what is None or empty is left out."""
    from rich.table import Table
    from rich.text import Text

    shown = {name: _in_words(value) for name, value in values.items() if value not in (None, "", [], {})}
    laid_out = Table.grid(padding=(0, 2))
    laid_out.add_column(no_wrap=True)
    laid_out.add_column(overflow="fold")
    for name, value in shown.items():
        laid_out.add_row(Text(name), Text(value))
    return _for_standard_output(laid_out)


def _for_standard_output(laid_out: Table) -> str:
    """Render for the terminal at standard output, in its width and style, or plainly for a file or a pipe."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, force_terminal=terminal, width=None if terminal else _NO_WIDTH)
    with console.capture() as captured:
        console.print(laid_out)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


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
    """Yield a callback (done, total) that shows a bar and the time left on standard error.

    It appears after the first second and goes at the end. Nothing is shown where standard error is no terminal, or
    with --json. Within another `progress` it is a further line of the same display.
    """
    if _for_a_program or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    begun = shown = time.monotonic()
    with _display() as display:
        line = display.add_task(label, total=None, visible=False)

        def show(done: int, total: int) -> None:
            nonlocal shown
            display.update(line, completed=done, total=total or None)
            now = time.monotonic()
            if now - begun >= _FIRST_SHOWN_S and now - shown >= _SHOWN_EVERY_S:
                shown = now
                display.update(line, visible=True, refresh=True)

        try:
            yield show
        finally:
            display.remove_task(line)


@contextlib.contextmanager
def _display() -> Iterator[Display]:
    """Yield the open display, else open one. No thread redraws it: that would disturb what is being timed."""
    if _displays:
        yield _displays[-1]
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    columns = (
        *(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()),
        *(TimeRemainingColumn(compact=True), TextColumn("left")),
    )
    with Display(
        *columns,
        console=Console(stderr=True),
        get_time=time.monotonic,
        auto_refresh=False,
        transient=True,
        # What is printed meanwhile is set above the bar, but not where it goes to a file.
        redirect_stdout=sys.stdout.isatty(),
    ) as display:
        _displays.append(display)
        try:
            yield display
        finally:
            _displays.remove(display)


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
        extra = _extra_of(module)
        if extra is None:
            raise
        _stop(f"this needs the package {module}; install it with: pip install 'edgefsa[{extra}]'")
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


def _extra_of(module: str) -> str | None:
    """Return which extra of edgefsa brings a module, None for one that it does not use."""
    from edgefsa.engines.registry import targets

    of_targets = {target.package: target.extra for target in targets().values()}
    return _EXTRA_OF_MODULE.get(module, of_targets.get(module))


def _stop_usage(error: Any) -> NoReturn:
    if type(error).__name__ == "NoArgsIsHelpError":
        message(error.format_message())
        sys.exit(2)
    program = error.ctx.command_path if error.ctx is not None else "edgefsa"
    _stop(f"{error.format_message().rstrip('.')}; see {program} --help")


def _stop(text: str) -> NoReturn:
    message("error: " + " ".join(text.split()))
    sys.exit(2)
