"""The result of a fit, put together from what is known of model and machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from localq.errors import UnsupportedError
from localq.formats.types import TensorType
from localq.hardware.profile import HardwareProfile
from localq.messages import msg
from localq.planning.budgets import HostAndDevices, host_and_devices
from localq.planning.fit_choice import TypeCandidate, Where, recommend, smaller_class
from localq.planning.fit_shape import read_per_token
from localq.planning.offload_plan import PlanOptions
from localq.planning.plan import impossible
from localq.quality.cards import QualityCard
from localq.services.fit.offers import Offer
from localq.services.fit.place import FitPlace, place
from localq.services.fit.source import DescribedModel, FitKind
from localq.services.pull.related_repositories import RelatedSizes

__all__ = ["FitResult", "FitRow", "RelatedRepo", "rows_and_advice"]


@dataclass(frozen=True, slots=True)
class FitRow:
    """One type. All sizes are bytes; `exact_size` is False where an importance matrix will add a
    few, `exact_memory` where another file's header was all there was to go by, or the architecture
    keeps more than is known.

    `room_bytes` is what is left where it runs (of GPU and CPU: in memory); below 0: what is
    lacking, None: nobody knows. `gpu_layers` of `layers` are on devices, without the experts of
    the first `cpu_moe`.
    """

    quant: str
    size_bytes: int
    exact_size: bool
    bits_per_weight: float
    needs_imatrix: bool
    where: Where
    gpu_layers: int
    cpu_moe: int
    layers: int
    n_ctx: int
    memory_bytes: int
    exact_memory: bool
    room_bytes: int | None
    recommended: bool


@dataclass(frozen=True, slots=True)
class RelatedRepo:
    """A repository with ready-made files, and the bytes of each of its `quants`.

    `quant` is the recommended type if it has that, else ""; `command` brings or shows it.
    """

    repo: str
    quants: Mapping[str, int]
    quant: str
    size_bytes: int
    command: str


@dataclass(frozen=True, slots=True)
class FitResult:
    """`repo` None: the model is on this disk. `trained_ctx` 0 and `licence` "": nobody says.

    `fetched_bytes` came over the network, of `total_bytes` that the model's files have in all.
    `recommended` is a row's type, None where none runs: then `smaller` says how many billions of
    parameters would, where any would and a shorter context is not enough. `command` is what to type
    next.
    """

    kind: FitKind
    model: str
    repo: str | None
    revision: str | None
    architecture: str
    parameters: int
    trained_ctx: int
    licence: str
    total_bytes: int
    fetched_bytes: int
    type_kv: str
    rows: tuple[FitRow, ...]
    recommended: str | None
    reason: str
    smaller: float | None
    related: tuple[RelatedRepo, ...]
    command: str
    warnings: tuple[str, ...]
    measured: tuple[QualityCard, ...] = ()
    """What evaluations found of the model's files that are here."""


def rows_and_advice(
    known: DescribedModel,
    profile: HardwareProfile,
    related: Sequence[RelatedSizes],
    *,
    n_ctx: int | None,
    type_kv: TensorType,
) -> FitResult:
    """Place every offer on the machine, and recommend one of the usual ones. UnsupportedError
    for a type that the model's context cannot be kept as."""
    shape = known.offers[0].shape
    plan_options = PlanOptions(
        n_ctx=n_ctx, type_k=type_kv.name.lower(), type_v=type_kv.name.lower()
    )
    if refused := impossible(shape, plan_options):
        raise UnsupportedError(
            msg("{name}: {refused}", name=known.name, refused=refused), hint=msg("leave out --kv")
        )
    machine = host_and_devices(profile)
    placed = [(offer, place(offer.shape, machine, plan_options)) for offer in known.offers]
    best, reason = _best(known, placed)
    label = None if best is None else known.offers[best].label
    command, smaller = _command(known, label), None
    if best is None:
        smaller = _smaller(*placed[0])
        if n_ctx and (shorter := _shorter_context(known, machine, plan_options)):
            offer, n_short = shorter
            what = offer.label if len(known.offers) > 1 else "it"
            reason += f" with so long a context; {what} would with {n_short:,} tokens"
            command, smaller = f"localq fit {known.name} --ctx {n_short}", None
    return FitResult(
        kind=known.kind,
        model=known.name,
        repo=known.repo,
        revision=known.revision,
        architecture=_text(known, "general.architecture") or "unknown",
        parameters=known.parameters,
        trained_ctx=shape.n_ctx_train,
        licence=_licence(known),
        total_bytes=known.total_bytes,
        fetched_bytes=known.fetched_bytes,
        type_kv=type_kv.name,
        rows=tuple(
            _row(known, offer, placement, recommended=index == best)
            for index, (offer, placement) in enumerate(placed)
        ),
        recommended=label,
        reason=reason,
        smaller=smaller,
        related=tuple(_related(related, label) for related in related),
        command=command,
        warnings=known.warnings,
    )


def _best(
    known: DescribedModel, placed: Sequence[tuple[Offer, FitPlace]]
) -> tuple[int | None, str]:
    """The usual one to take, of these, and why."""
    usual = [index for index, (offer, _) in enumerate(placed) if offer.usual]
    advice = recommend([_candidate(known, *placed[index]) for index in usual])
    return None if advice.index is None else usual[advice.index], advice.reason


def _shorter_context(
    known: DescribedModel, machine: HostAndDevices, plan_options: PlanOptions
) -> tuple[Offer, int] | None:
    """The one to take if the user had not asked for so long a context, and what fits with it."""
    free = replace(plan_options, n_ctx=None)
    placed = [(offer, place(offer.shape, machine, free)) for offer in known.offers]
    best, _ = _best(known, placed)
    if best is None or placed[best][1].n_ctx >= (plan_options.n_ctx or 0):
        return None
    return placed[best][0], placed[best][1].n_ctx


def _candidate(known: DescribedModel, offer: Offer, placement: FitPlace) -> TypeCandidate:
    read = read_per_token(offer.shape, known.metadata)
    slow = min(placement.layers, placement.layers - placement.gpu_layers + placement.cpu_moe)
    return TypeCandidate(
        offer.type,
        offer.size_bytes,
        placement.where,
        read,
        offer.needs_imatrix,
        shared=placement.shared,
        tight=placement.tight,
        slow_bytes=read * slow // placement.layers,
    )


def _row(known: DescribedModel, offer: Offer, placement: FitPlace, *, recommended: bool) -> FitRow:
    return FitRow(
        quant=offer.label,
        size_bytes=offer.size_bytes,
        exact_size=offer.exact_size,
        bits_per_weight=round(8 * offer.shape.weights / max(known.parameters, 1), 2),
        needs_imatrix=offer.needs_imatrix,
        where=placement.where,
        gpu_layers=placement.gpu_layers,
        cpu_moe=placement.cpu_moe,
        layers=placement.layers,
        n_ctx=placement.n_ctx,
        memory_bytes=placement.memory_bytes,
        exact_memory=offer.exact_shape and not offer.shape.approximate,
        room_bytes=placement.room_bytes,
        recommended=recommended,
    )


def _smaller(offer: Offer, placement: FitPlace) -> float | None:
    """What would run in the room there is, if it needed as much besides its weights."""
    weights = max(offer.shape.weights, 1)
    room = placement.memory_bytes + (placement.room_bytes or 0)
    return smaller_class(room * weights // max(placement.memory_bytes, 1))


def _related(related: RelatedSizes, wanted: str | None) -> RelatedRepo:
    quant = wanted if wanted and wanted in related.sizes else ""
    command = f"localq pull {related.repo}:{quant}" if quant else f"localq fit {related.repo}"
    return RelatedRepo(related.repo, related.sizes, quant, related.sizes.get(quant, 0), command)


def _command(known: DescribedModel, label: str | None) -> str:
    if label is None:
        return "localq pull"  # lists the models that fit
    if known.repo is None:
        if known.kind is FitKind.CHECKPOINT:
            return msg("localq quantize {label} {name}", label=label.lower(), name=known.name)
        return msg("localq run {name}", name=known.name)
    if known.kind is FitKind.CHECKPOINT:
        return msg("localq pull {name} --as {label}", name=known.name, label=label.lower())
    if known.kind is FitKind.GGUF_REPO:
        return msg("localq pull {name}:{label}", name=known.name, label=label)
    return msg("localq pull {name}", name=known.name)


def _licence(known: DescribedModel) -> str:
    """The licence; "other" by the name its owner gives it."""
    licence = _text(known, "general.license")
    named = _text(known, "general.license.name") if licence in ("", "other") else ""
    return named or licence


def _text(known: DescribedModel, key: str) -> str:
    value = known.metadata.get(key)
    return value[:100] if isinstance(value, str) else ""
