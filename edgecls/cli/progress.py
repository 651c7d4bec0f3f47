"""How far the work is, on standard error, where that is a terminal."""

from __future__ import annotations

import sys
import threading


class Bar:
    """A bar of one piece of work after the other; notes are printed in any case."""

    def __enter__(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, soft_wrap=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bars.add_task("", total=None)
        self._bars.start()
        return self

    def __exit__(self, *_):
        self._bars.stop()

    def show(self, what: str, done: int = 0, total: int = 0) -> None:
        """total: 0 where nobody knows it."""
        self._bars.update(self._task, description=what, completed=done, total=total or None)

    def note(self, text: str) -> None:
        self.say(f"note: {text}")

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, emoji=False)


class Transfers:
    """A bar for each of several transfers, told of from any thread."""

    def __enter__(self):
        from rich import progress as bars
        from rich.console import Console

        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=30),
            bars.DownloadColumn(),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
            console=Console(stderr=True, soft_wrap=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, int] = {}
        self._lock = threading.Lock()
        self._bars.start()
        return self

    def __exit__(self, *_):
        self._bars.stop()

    def show(self, name: str, done: int, total: int | None) -> None:
        """Bytes of the transfer `name`; total: None where nobody knows it."""
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=None)
            self._bars.update(self._tasks[name], total=total, completed=done)

    def note(self, text: str) -> None:
        self._bars.console.print(f"note: {text}", markup=False, highlight=False, emoji=False)
