"""Shows the progress of long work: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_EVERY = 10.0  # seconds between plain lines, so that a log of days stays readable


class Progress:
    """Counts `total` units of work, and shows the count on stderr; a context manager.

    Args: desc, a few words that name the work; unit, what is counted; initial, units done in an earlier run.
    """

    def __init__(self, total: float, desc: str, unit: str = "images", initial: float = 0):
        self.total, self.desc, self.unit = total, desc, unit
        self.initial = self.done = initial
        self.fields = ""
        self.started = self.last_line = time.monotonic()
        look = dict(total=total, desc=desc, unit=f" {unit}", initial=initial, dynamic_ncols=True, smoothing=0.1)
        self.bar = tqdm(**look) if sys.stderr.isatty() else None

    def update(self, n: float = 1, **fields) -> None:
        """Counts n more units; shows fields (name="value") behind the count."""
        self.done += n
        self.fields = " ".join(f"{name} {value}" for name, value in fields.items()) or self.fields
        if self.bar is not None:
            self.bar.set_postfix_str(self.fields, refresh=False)
            self.bar.update(n)
        elif time.monotonic() - self.last_line >= LINE_EVERY:
            self._line()

    def _line(self) -> None:
        self.last_line = time.monotonic()
        rate = (self.done - self.initial) / max(self.last_line - self.started, 1e-9)
        left = f"{tqdm.format_interval((self.total - self.done) / rate)} left" if rate else "time left unknown"
        text = f"{self.desc}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {left}"
        print(f"{text}, {self.fields}" if self.fields else text, file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc_info) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done > self.initial:
            self._line()


def say(text: str) -> None:
    """Prints a line on stderr, at once, above the bars that are there."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


@contextmanager
def stage(text: str, ended=None, brief: bool = False) -> Iterator[None]:
    """Says what is done within, then for how long so far: each second on a terminal, elsewhere now and then.

    Args: ended, an event of threading or multiprocessing that ends it before the block does; brief, whether it leaves
    no line where it does not take long.
    """
    ended = ended or threading.Event()
    look = dict(desc=text, bar_format="{desc}: {elapsed}", leave=not brief)
    bar = tqdm(**look) if sys.stderr.isatty() else None
    if bar is None and not brief:
        say(text)
    counter = threading.Thread(target=_count_seconds, args=(text, bar, ended), daemon=True)
    counter.start()
    try:
        yield
    finally:
        ended.set()
        counter.join()


def _count_seconds(text: str, bar: tqdm | None, ended) -> None:
    began = time.monotonic()
    while not ended.wait(LINE_EVERY if bar is None else 1.0):
        if bar is None:
            say(f"{text}: {tqdm.format_interval(time.monotonic() - began)} so far")
        else:
            bar.refresh()
    if bar is not None:
        bar.close()
