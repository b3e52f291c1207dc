"""The machine: what was detected, how a model would be loaded on it, how fast it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.types import CSSPathType
from textual.widgets import Static

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui import details, plan_text
from localq.tui.context import AppContext
from localq.tui.screens.base import AppScreen
from localq.tui.text import elide, tr
from localq.tui.watch import HomeNews
from localq.tui.widgets.notice import error_text
from localq.tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from localq.hardware.profile import HardwareProfile
    from localq.jobs import Job
    from localq.library import Model
    from localq.planning.measurements import TuningPoint
    from localq.tui.services.machine import Loading

__all__ = ["MachineScreen"]


class MachineScreen(AppScreen):
    NAME = "machine"
    CSS_PATH: ClassVar[CSSPathType | None] = "machine.tcss"
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "tune", msg("Tune"), tooltip=msg("Find the fastest settings")),
        Binding("m", "bench", msg("Measure the speed")),
        Binding("plus,equals_sign", "context(1)", msg("More context"), key_display="+"),
        Binding("minus", "context(-1)", msg("Less context"), key_display="-"),
        Binding("r", "detect", msg("Look at the machine anew"), show=False),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._wanted: str | None = None
        self._n_ctx: int | None = None
        self._shown: Loading | None = None
        self._profile: HardwareProfile | None = None
        self._tuning: Job | None = None
        self._points: Sequence[TuningPoint] = ()
        """What that job has measured so far."""

    def compose_body(self) -> ComposeResult:
        with Container(id="columns"):
            with Vertical(id="list") as box:
                box.border_title = tr("This machine")
                with VerticalScroll(id="machine", can_focus=False):
                    yield Static(tr("Looking at the machine…"), id="found", markup=False)
                yield Table["Model"](
                    (
                        Column(msg("Model"), lambda m, w: Text(elide(printable(m.name), w))),
                        Column(
                            msg("Size"),
                            lambda m, _: Text(byte_size(m.size_bytes), "dim"),
                            width=9,
                            right=True,
                            rank=1,
                        ),
                    ),
                    lambda model: model.name,
                )
            with VerticalScroll(id="detail") as panel:
                panel.border_title = tr("How it would be loaded")
                yield Static(id="plan", markup=False)

    def on_mount(self) -> None:
        self.action_detect()

    def home_changed(self, news: HomeNews) -> None:
        self._follow(news.jobs)
        models = self.context.services.library.models
        self.context.calls.start(
            self,
            lambda say, cancel: [model for model in models() if model.format.is_runnable],
            done=self._list,
            failed=self._complain,
        )

    def _follow(self, jobs: Sequence[Job]) -> None:
        """A tuning that runs is drawn as it measures; once it is over, what it found is."""
        before = self._tuning
        self._tuning = next(
            (job for job in jobs if job.kind == "tune" and job.state.is_active), None
        )
        if (job := self._tuning) is None:
            if before is not None:
                self._plan()
            return
        so_far = self.context.services.machine.tuned_so_far

        def draw(points: Sequence[TuningPoint]) -> None:
            self._points = points
            if self._shown is not None:
                self._draw(self._shown)

        self.context.calls.start(
            self, lambda say, cancel: so_far(job.id), done=draw, failed=self._complain
        )

    def choose(self, name: str) -> None:
        """Show how this model would be loaded, once the models are listed."""
        self._wanted = name

    def action_detect(self) -> None:
        profile = self.context.services.machine.profile
        self.context.calls.start(self, profile, done=self._detected, failed=self._complain)

    def _detected(self, profile: HardwareProfile) -> None:
        self._profile = profile
        self._draw_machine()

    @on(events.Resize)
    def _draw_machine(self) -> None:
        """In full where there is room."""
        if self._profile is not None:
            drawn = plan_text.machine if self.has_class("-wide") else plan_text.machine_in_short
            self.query_one("#found", Static).update(drawn(self._profile))

    def _list(self, models: list[Model]) -> None:
        models.sort(key=lambda model: -model.used_at)
        self.query_one(Table).show(models, self._wanted)
        self._wanted = None
        if not models:
            told = tr("No model yet that runs. Pull one (2), or quantize a checkpoint (1).")
            self.query_one("#plan", Static).update(told)
        self.refresh_bindings()

    @property
    def _model(self) -> Model | None:
        return self.query_one(Table).current

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("tune", "bench", "context"):
            return self.is_mounted and self._model is not None
        return True

    @on(Table.Moved)
    def _moved(self) -> None:
        if self._shown is not None and self._model and self._shown.name != self._model.name:
            self._n_ctx = None
        self._plan()

    def _plan(self) -> None:
        model, n_ctx, loading = self._model, self._n_ctx, self.context.services.machine.loading
        if model is None:
            return

        def draw(found: Loading) -> None:
            if self._model is not None and self._model.name == found.name:
                self._shown = found
                self._draw(found)

        def cannot(error: LocalqError) -> None:
            if self._model is model:
                self.query_one("#plan", Static).update(error_text(error))

        self.context.calls.start(
            self, lambda say, cancel: loading(model.name, n_ctx, cancel), done=draw, failed=cannot
        )

    def _draw(self, found: Loading) -> None:
        plan = found.planned.plan
        text = Text(overflow="fold")
        text.append(f"{printable(found.name)}\n", "bold")
        for part in (
            details.memory(found.planned, self._n_ctx),
            plan_text.layers(plan),
            plan_text.tuning_now(self._tuning, self._points)
            if self._tuning is not None
            else plan_text.tuning(found.tuning),
            plan_text.history(found.history, self.context.clock.now()),
            plan_text.reasons(plan),
        ):
            text.append_text(part)
            text.append("\n")
        self.query_one("#plan", Static).update(text)

    def action_context(self, by: int) -> None:
        if self._shown is not None:
            self._n_ctx = details.other_context(self._shown.planned, self._n_ctx, by)
            self._plan()

    def action_tune(self) -> None:
        if (model := self._model) is None:
            return

        def make() -> object:
            from localq.services.measure.tune import TuneRequest

            return TuneRequest(model.name)

        what = tr("tune {model}", model=printable(model.name))
        self.shell.begin_job(make, what)

    def action_bench(self) -> None:
        if (model := self._model) is None:
            return

        def make() -> object:
            from localq.services.measure.bench import BenchRequest

            return BenchRequest(model.name)

        what = tr("bench {model}", model=printable(model.name))
        self.shell.begin_job(make, what)

    def _complain(self, error: LocalqError) -> None:
        self.shell.complain(error)
