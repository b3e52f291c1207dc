"""What can be done with the models of the library. Long work is begun as a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from localq.display import byte_size, printable
from localq.errors import LocalqError
from localq.messages import msg
from localq.tui import listing
from localq.tui.context import AppContext
from localq.tui.screens.base import AppScreen
from localq.tui.text import tr

if TYPE_CHECKING:
    from localq.jobs import Job
    from localq.library.model import Model, Removed

__all__ = ["ModelActions"]

_LARGE = 1_000_000_000
"""Parameters from which on a four-bit type is enough to begin with."""


class ModelActions(AppScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quantize", msg("Quantize")),
        Binding("p", "pull", msg("Pull")),
        Binding("d,delete", "remove", msg("Remove")),
        Binding("u", "undo", msg("Bring back what was removed"), show=False),
        Binding("v", "verify", msg("Verify"), show=False, tooltip=msg("Verify every byte")),
        Binding("m", "bench", msg("Measure the speed"), show=False),
        Binding("t", "tune", msg("Tune"), show=False, tooltip=msg("Find the fastest settings")),
        Binding("f", "plan", msg("How it would be loaded"), show=False),
        Binding("y", "copy_path", msg("Copy the path"), show=False),
        Binding("e", "export", msg("Use it elsewhere"), show=False),
        Binding("o", "import_models", msg("Take in from other programs"), show=False),
        Binding("a", "alias", msg("Give another name"), show=False),
        Binding("l", "tags", msg("Tags"), show=False),
        Binding("n", "note", msg("Note"), show=False),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self._removed: list[str] = []

    @property
    def current(self) -> Model | None:
        """The model under the cursor."""
        raise NotImplementedError

    @property
    def chosen(self) -> list[Model]:
        """The models that are marked, or the one under the cursor."""
        raise NotImplementedError

    @property
    def all_models(self) -> Sequence[Model]:
        raise NotImplementedError

    def changed(self) -> None:
        """Models came or went: list them anew, and let go of what was chosen."""
        raise NotImplementedError

    def call(self, work: Callable[[], Any], done: Callable[[Any], object]) -> None:
        """Do something short; what goes wrong is said in the status line."""
        self.context.calls.start(self, lambda say, cancel: work(), done=done, failed=self.complain)

    def complain(self, error: LocalqError) -> None:
        self.shell.complain(error)

    def begin(
        self,
        make: Callable[[], object],
        what: str,
        then: Callable[[Job], object] | None = None,
    ) -> None:
        """Begin a job; `make` makes its request, `what` says it in the user's language."""
        self.shell.begin_job(make, what, then)

    # --- chat, pull, quantize ---

    def action_chat(self) -> None:
        from localq.tui.screens.chat import ChatScreen

        model = self.current
        if model is None:
            return
        runnable: Model | None = model
        if not model.format.is_runnable:
            runnable = listing.last_used(listing.made_of(self.all_models, model))
        if runnable is None:
            self.notify(
                tr(
                    "{name} is a checkpoint: q makes a model from it that can chat.",
                    name=printable(model.name),
                ),
                severity="warning",
                markup=False,
            )
            return
        self.app.push_screen(ChatScreen(self.context, runnable))

    def action_pull(self) -> None:
        from localq.tui.screens.pull import PullDialog

        self.app.push_screen(PullDialog(self.context), self._pull)

    def _pull(self, spec: str | None) -> None:
        if spec is None:
            return
        if spec.casefold() == "demo":
            self.get_demo()
            return

        def make() -> object:
            from localq.services.pull.pull import PullRequest

            return PullRequest(spec)

        self.begin(make, tr("pull {spec}", spec=printable(spec)))

    def get_ready(self, repo: str, parameters: int | None) -> None:
        """Pull a checkpoint as a type to talk to; `parameters` None: nobody has read how many."""

        def make() -> object:
            from localq.formats.types import QuantType
            from localq.services.pull.stream import PullAsRequest

            type_ = (
                QuantType.Q4_K_M if parameters is None or parameters >= _LARGE else QuantType.Q8_0
            )
            return PullAsRequest(repo, type_)

        self.begin(make, tr("pull {spec}", spec=printable(repo)))

    def get_demo(self) -> None:
        """Pull the demo, and make of it what can chat."""

        def pull() -> object:
            from localq.services.pull.pull import PullRequest

            return PullRequest("demo")

        def quantize(job: Job) -> None:
            def make() -> object:
                from localq.formats.types import QuantType
                from localq.services.make.quantize_request import QuantizeRequest

                return QuantizeRequest(QuantType.Q8_0, model=job.result)

            self.begin(make, tr("quantize {name}", name=printable(job.result or "")))

        self.begin(pull, tr("pull {spec}", spec="demo"), quantize)

    def action_quantize(self) -> None:
        from localq.tui.screens.quantize import QuantizeDialog

        model = self.current
        if model is None:
            return
        made = {other.quant for other in listing.made_of(self.all_models, model)}
        source = listing.origin(self.all_models, model)

        def chosen(make: Callable[[], object] | None) -> None:
            if make is not None:
                self.begin(make, tr("quantize {name}", name=printable(source.name)))

        self.app.push_screen(QuantizeDialog(self.context, source, made), chosen)

    # --- remove, verify, measure ---

    def action_remove(self) -> None:
        from localq.tui.screens.confirm import ConfirmDialog

        models = self.chosen
        if not models:
            return
        question = ConfirmDialog(tr("Remove"), _remove_question(models), yes=tr("Remove"))
        self.app.push_screen(
            question, lambda answer: self._remove(models) if answer == "yes" else None
        )

    def _remove(self, models: Sequence[Model]) -> None:
        remove, names = self.context.services.library.remove, [model.name for model in models]
        self.call(lambda: remove(names), self._gone)

    def _gone(self, removed: Sequence[Removed]) -> None:
        self._removed = [one.model.name for one in removed if one.trash_id is not None]
        frees = byte_size(sum(one.frees_bytes for one in removed))
        if not self._removed:
            told = tr("No longer listed; nothing was deleted.")
        elif len(removed) == 1:
            name = printable(removed[0].model.name)
            told = tr("In the trash ({size}; u brings it back): {name}", name=name, size=frees)
        else:
            count = len(removed)
            told = tr(
                "In the trash ({size}; u brings them back): {count} models",
                count=count,
                size=frees,
            )
        self.notify(told, markup=False)
        self.changed()

    def action_undo(self) -> None:
        if not self._removed:
            self.notify(tr("Nothing was removed here."), markup=False)
            return
        restore, names = self.context.services.library.restore, self._removed

        def back(models: Sequence[Model]) -> None:
            self._removed = []
            names = ", ".join(printable(model.name) for model in models)
            self.notify(tr("{names}: back in the library.", names=names), markup=False)
            self.changed()

        self.call(lambda: restore(names), back)

    def action_verify(self) -> None:
        names = tuple(model.name for model in self.chosen)
        if not names:
            return

        def make() -> object:
            from localq.services.jobs.kinds.verify import VerifyRequest

            return VerifyRequest(names)

        what = printable(names[0]) if len(names) == 1 else tr("{count} models", count=len(names))
        self.begin(make, tr("verify {name}", name=what))

    def _runnable(self) -> str | None:
        model = self.current
        if model is None or model.format.is_runnable:
            return model.name if model else None
        self.notify(
            tr("A checkpoint cannot be measured; choose a file made of it."),
            severity="warning",
            markup=False,
        )
        return None

    def action_bench(self) -> None:
        if (name := self._runnable()) is None:
            return

        def make() -> object:
            from localq.services.measure.bench import BenchRequest

            return BenchRequest(name)

        self.begin(make, tr("bench {model}", model=printable(name)))

    def action_tune(self) -> None:
        if (name := self._runnable()) is None:
            return

        def make() -> object:
            from localq.services.measure.tune import TuneRequest

            return TuneRequest(name)

        self.begin(make, tr("tune {model}", model=printable(name)))

    def action_plan(self) -> None:
        if (name := self._runnable()) is not None:
            self.shell.show_plan(name)

    # --- elsewhere ---

    def action_copy_path(self) -> None:
        paths = [str(model.path) for model in self.chosen]
        if paths:
            self.app.copy_to_clipboard("\n".join(paths))
            self.notify(tr("Copied: {text}", text=printable(paths[0])), markup=False)

    def action_export(self) -> None:
        from localq.tui.screens.snippets import SnippetDialog

        if (model := self.current) is not None:
            self.app.push_screen(SnippetDialog(self.context, model))

    def action_import_models(self) -> None:
        from localq.tui.screens.import_models import ImportDialog

        def chosen(make: Callable[[], object] | None) -> None:
            if make is not None:
                self.begin(make, tr("import models"))

        self.app.push_screen(ImportDialog(self.context), chosen)

    # --- labels ---

    def action_alias(self) -> None:
        model, library = self.current, self.context.services.library
        if model is None:
            return
        about = tr("Another short name for {name}; as -NAME it is taken away.", name=model.name)

        def work(text: str) -> object:
            if text.startswith("-"):
                return library.remove_alias(model.name, text[1:])
            return library.add_alias(model.name, text) if text else None

        self._label(tr("Another name"), about, work)

    def action_tags(self) -> None:
        model, library = self.current, self.context.services.library
        if model is None:
            return
        about = tr("Tags of {name}, with spaces between them.", name=model.name)
        self._label(
            tr("Tags"),
            about,
            lambda text: library.set_tags(model.name, text.replace(",", " ").split()),
            " ".join(model.tags),
        )

    def action_note(self) -> None:
        model, library = self.current, self.context.services.library
        if model is None:
            return
        about = tr("A note about {name}.", name=model.name)
        self._label(tr("Note"), about, lambda text: library.set_note(model.name, text), model.note)

    def _label(
        self, title: str, about: str, work: Callable[[str], object], value: str = ""
    ) -> None:
        from localq.tui.screens.text_dialog import TextDialog

        dialog = TextDialog(self.context, title, printable(about), work, value=value)
        self.app.push_screen(dialog, lambda _: self.changed())


def _remove_question(models: Sequence[Model]) -> Text:
    text = Text(overflow="fold")
    own = [model for model in models if not model.external]
    if len(models) == 1:
        name = printable(models[0].name)
        question = (
            tr("Move {name} to the trash?", name=name)
            if own
            else tr("Take {name} off the list?", name=name)
        )
    else:
        question = tr("Move {count} models to the trash?", count=len(models))
    text.append(question, "bold")
    for model in models[:8] if len(models) > 1 else ():
        text.append(f"\n  {printable(model.name)}  {byte_size(model.size_bytes)}")
    if len(models) > 8:
        text.append("\n  …")
    text.append("\n\n")
    if own:
        size = byte_size(sum(model.size_bytes for model in own))
        text.append(
            tr("{size} until the trash is emptied; u brings back what was removed.", size=size)
        )
    if len(own) < len(models):
        text.append("\n" if own else "")
        text.append(tr("Files that are not localq's own stay where they are."))
    if len(models) == 1:
        text.append(f"\n{printable(str(models[0].path))}", "dim")
    return text
