"""Shows the progress of a run."""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import Any


class Progress:
    """Progress on stderr: a bar on a terminal, elsewhere a line per report."""

    def __init__(self, step: int, steps: int, *, silent: bool = False):
        self._first, self._steps, self._silent = step, steps, silent
        self._began = time.perf_counter()
        self._bar = None
        if not silent and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=steps,
                initial=step,
                dynamic_ncols=True,
                bar_format="step {n_fmt}/{total_fmt} |{bar:20}| {desc}",
            )

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def report(self, step: int, row: Mapping[str, Any]) -> None:
        """Shows a row of training and the time left."""
        spent, made = time.perf_counter() - self._began, step - self._first
        parts = [f"loss {shown(row.get('loss'), '.4g')}"]
        if "learning_rate" in row:
            parts.append(f"learning rate {shown(row['learning_rate'], '.3g')}")
        if row["images_per_second"]:
            parts.append(f"{row['images_per_second']:.3g} images/s")
        if made > 0:
            left = round(spent / made * max(self._steps - step, 0))
            parts.append(f"{datetime.timedelta(seconds=left)} left")
        if self._bar is not None:
            self._bar.set_description_str(", ".join(parts), refresh=False)
            self.advance(step)
            self._bar.refresh()
        else:
            self.note(f"step {step}/{self._steps}: {', '.join(parts)}")

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif not self._silent:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def shown(value: float | None, form: str) -> str:
    """A number as text, None being one that was not finite."""
    return "not finite" if value is None else format(value, form)
