"""How far the work is, on standard error, where that is a terminal."""

from __future__ import annotations

import sys


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
