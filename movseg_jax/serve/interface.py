"""The page of `movseg serve`, made of gradio's components."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]

from movseg_jax.errors import InputError
from movseg_jax.formats import FORMATS
from movseg_jax.model.loading import TrainedDetector
from movseg_jax.report.html import escape
from movseg_jax.serve.visits import EVERYTHING, Visit, Visits
from movseg_jax.system.progress import Progress, Stopped

PHASES = {
    "detect": "Looking for what moves",
    "track": "Linking detections to tracks",
    "write overlay": "Drawing the tracks",
    "write overlay and report": "Drawing the tracks",
}
TITLE = "What moves in this video?"


class Page:
    """The components of the page, and what they do.

    Components are handed to gradio by `build`; the other public methods are called by
    gradio, each with the session of the visitor.
    """

    def __init__(
        self,
        detector: TrainedDetector,
        visits: Visits,
        explain: Callable[[InputError], str],
    ):
        """Takes the detector, the visits, and a function that words errors."""
        self._detector, self._visits, self._explain = detector, visits, explain

    def build(self) -> gr.Blocks:
        """Returns the page."""
        limits = self._visits.limits
        with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
            gr.Markdown(
                f"# {TITLE}\n"
                "Every object that moves becomes a track, with a mask in each frame. "
                f"Files may have up to {limits.max_mb:g} MB; the first "
                f"{limits.max_seconds:g} seconds are segmented. Clips and results are "
                "deleted when you close this page, or after "
                f"{limits.keep_minutes:g} minutes without use."
            )
            with gr.Row():
                with gr.Column():
                    gr.Markdown("### 1. Choose a clip")
                    self._clip = gr.Video(
                        sources=["upload"], show_label=False, height=340, elem_id="clip"
                    )
                    with gr.Row():
                        self._example = gr.Button("Use an example")
                        self._start = gr.Button("Find what moves", variant="primary")
                        self._stop = gr.Button("Stop", variant="stop", visible=False)
                    self._status = gr.HTML()
                with gr.Column():
                    gr.Markdown("### 2. Look at its tracks")
                    self._overlay = gr.Video(
                        interactive=False,
                        autoplay=True,
                        loop=True,
                        show_label=False,
                        height=340,
                        buttons=["download"],
                        elem_id="overlay",
                    )
                    self._tracks = gr.CheckboxGroup(
                        label="Tracks that are drawn", elem_id="tracks", visible=False
                    )
            with gr.Row(visible=False) as self._results:
                self._build_results()
            self._connect(page)
        return page

    def _build_results(self) -> None:
        with gr.Column(scale=2):
            gr.Markdown("Each track, in the frame that shows most of it:")
            self._gallery = gr.Gallery(
                show_label=False,
                columns=3,
                height="auto",
                object_fit="contain",
                buttons=[],
                elem_id="gallery",
            )
        with gr.Column():
            gr.Markdown("Optical flow: the colour is the direction of the motion.")
            self._flow = gr.Image(
                interactive=False, show_label=False, height=220, buttons=[]
            )
            gr.Markdown("### 3. Download results")
            choices = [(f"{name}: {form.text}", name) for name, form in FORMATS.items()]
            everything = "everything: the report and all files"
            self._form = gr.Dropdown(
                [(everything, EVERYTHING), *choices],
                value=EVERYTHING,
                label="Format",
                info="A format has the tracks that are drawn; everything has all.",
            )
            self._prepare = gr.Button("Prepare the file")
            self._file = gr.File(
                interactive=False, show_label=False, visible=False, elem_id="file"
            )

    def _connect(self, page: gr.Blocks) -> None:
        """Says which function each component calls."""
        shared: Any = {"api_visibility": "private", "concurrency_id": "work"}
        quick: Any = {"api_visibility": "private", "queue": False}
        shown = [
            self._start, self._stop, self._status, self._overlay, self._tracks,
            self._results, self._gallery, self._flow, self._file,
        ]  # fmt: skip
        self._clip.upload(self.take, self._clip, [self._clip, *shown], **quick)
        self._clip.clear(self.forget, None, shown, **quick)
        self._example.click(self.take_example, None, [self._clip, *shown], **shared)
        self._start.click(
            self.segment, None, shown, show_progress_on=self._overlay, **shared
        )
        self._stop.click(self.stop, None, None, **quick)
        self._tracks.input(
            self.redraw,
            self._tracks,
            [self._overlay, self._file, self._status],
            show_progress_on=self._overlay,
            trigger_mode="always_last",
            **shared,
        )
        self._prepare.click(
            self.export,
            [self._form, self._tracks],
            [self._file, self._status],
            show_progress_on=self._prepare,
            **shared,
        )
        page.unload(self.leave)

    def take(self, upload: str | None, request: gr.Request) -> dict[Any, Any]:
        """Takes an uploaded file over into the folder of the visit."""
        visit = self._visit(request)
        try:
            clip = visit.take(Path(upload or ""))
            return self._cleared() | {
                self._clip: str(clip),
                self._status: _note(visit.describe()),
            }
        except InputError as error:
            problem = {self._clip: None, self._status: self._problem(visit, error)}
            return self._cleared() | problem

    def take_example(self, request: gr.Request) -> dict[Any, Any]:
        """Renders the example."""
        clip = self._visit(request).take_example()
        return self._cleared() | {self._clip: str(clip)}

    def forget(self, request: gr.Request) -> dict[Any, Any]:
        """Deletes the clip and its results."""
        self._visits.leave(request.session_hash)
        return self._cleared()

    def stop(self, request: gr.Request) -> None:
        """Stops the run of this visit."""
        self._visit(request).stop()

    def leave(self, request: gr.Request) -> None:
        """Deletes all that is kept of a visit, whose page was closed."""
        self._visits.leave(request.session_hash)

    def segment(
        self,
        request: gr.Request,
        bar: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[dict[Any, Any]]:
        """Segments the clip; first shows that this has begun, then the results."""
        yield self._cleared() | {
            self._start: gr.update(visible=False),
            self._stop: gr.update(visible=True),
        }
        visit = self._visit(request)
        try:
            text = visit.segment(self._detector, _shown(bar))
            yield self._cleared() | self._found(visit, text)
        except Stopped:
            yield self._cleared() | {self._status: _note("Stopped.")}
        except InputError as error:
            yield self._cleared() | {self._status: self._problem(visit, error)}

    def redraw(
        self,
        shown: list[int],
        request: gr.Request,
        bar: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict[Any, Any]:
        """Draws the overlay again, with some of the tracks."""
        visit = self._visit(request)
        try:
            overlay = visit.overlay(shown, _shown(bar))
        except InputError as error:
            return {self._status: self._problem(visit, error)}
        return {
            self._overlay: str(overlay),
            self._file: gr.update(value=None, visible=False),
        }

    def export(
        self, what: str, shown: list[int], request: gr.Request
    ) -> dict[Any, Any]:
        """Writes a file to download."""
        visit = self._visit(request)
        try:
            file = str(visit.export(what, shown))
            return {self._file: gr.update(value=file, visible=True)}
        except InputError as error:
            return {self._status: self._problem(visit, error)}

    def _visit(self, request: gr.Request) -> Visit:
        return self._visits.of(request.session_hash)

    def _cleared(self) -> dict[Any, Any]:
        """The page without results."""
        return {
            self._start: gr.update(visible=True),
            self._stop: gr.update(visible=False),
            self._status: "",
            self._overlay: None,
            self._tracks: gr.update(choices=[], value=[], visible=False),
            self._results: gr.update(visible=False),
            self._gallery: None,
            self._flow: None,
            self._file: gr.update(value=None, visible=False),
        }

    def _found(self, visit: Visit, text: str) -> dict[Any, Any]:
        """The page with the results of a visit."""
        ids = [track.id for track in visit.summaries()]
        tracks, flow = visit.pictures()
        return {
            # Its hints name parameters, as errors do.
            self._status: _note(self._worded(visit, InputError(text))),
            self._overlay: str(visit.overlay(ids, lambda *_: None)),
            self._tracks: gr.update(
                choices=[(f"Track {id}", id) for id in ids],
                value=ids,
                visible=bool(ids),
            ),
            self._results: gr.update(visible=bool(ids)),
            self._gallery: [(str(path), caption) for path, caption in tracks],
            self._flow: None if flow is None else str(flow),
        }

    def _problem(self, visit: Visit, error: InputError) -> str:
        return _note(self._worded(visit, error), kind="problem")

    def _worded(self, visit: Visit, error: InputError) -> str:
        """The error as the command line words it, with the clip's own name."""
        text = self._explain(error)
        return text.replace(f"{visit.folder / 'clip'}{os.sep}", "")


def _note(text: str, kind: str = "") -> str:
    return f'<p class="note {kind}" role="status">{escape(text)}</p>' if text else ""


def _shown(bar: gr.Progress) -> Progress:
    """A function that shows progress in a bar of gradio's."""

    def show(done: int, total: int | None, phase: str) -> None:
        text = PHASES.get(phase, "Writing the results")
        if phase == "detect" and not done:
            text = "Starting; the first clip of a size takes longer"
        bar((done, total), desc=text, unit="frames")

    return show
