"""Plans for machines and models that were invented, and for some that were not."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq.hardware.profile import Device, HardwareProfile, Memory
from localq.planning.model_shape import ModelShape
from localq.planning.offload_plan import OffloadPlan, PlanOptions, Tuned
from localq.planning.plan import DEFAULT_CONTEXT, LEAST_CONTEXT, make_plan
from tests.counted_calls import calls
from tests.invented_machines import GIB, machine, pairs, plan_options
from tests.memory_truths import TRUTHS, read_truths

_MANY = settings(max_examples=int(os.environ.get("LOCALQ_EXAMPLES", "100")), deadline=None)
_MOST_CALLS = 60_000
"""Some ten of them take a microsecond."""


def _shape(name: str) -> ModelShape:
    return read_truths(TRUTHS / f"{name}.json").header.shape


def _unified(profile: HardwareProfile, name: str) -> bool:
    return any(device.unified for device in profile.devices if device.id == name)


def _check(profile: HardwareProfile, shape: ModelShape, plan: OffloadPlan) -> None:
    """What holds of every plan."""
    assert plan.n_threads >= 1
    assert plan.n_threads_batch >= 1
    assert 1 <= plan.n_ubatch <= plan.n_batch
    assert 0 <= plan.n_cpu_moe <= shape.n_layer
    assert 0 <= plan.n_gpu_layers <= shape.n_layer + 1 + shape.unused_layers
    assert plan.n_layers == shape.n_layer + 1
    assert len(plan.estimate.devices) in (1, len(plan.budgets))
    assert plan.reasons
    assert plan.fits == (plan.problem is None)
    if plan.tensor_split:
        assert sum(plan.tensor_split) == plan.n_gpu_layers
    assert (plan.problem is None) == (not plan.suggestions) or not shape.causal
    if not plan.fits:
        return
    host = plan.estimate.host.total
    for memory, budget in zip(plan.estimate.devices[1:], plan.budgets[1:], strict=False):
        assert budget.usable is not None
        assert memory.total <= budget.usable
        if _unified(profile, budget.name):
            host += memory.total
    if profile.memory is not None:
        assert plan.budgets[0].free == profile.memory.available
        assert host <= profile.memory.available - plan.budgets[0].margin


@_MANY
@given(pairs(), plan_options())
def test_no_device_is_ever_overfull(
    pair: tuple[HardwareProfile, ModelShape], option: PlanOptions
) -> None:
    profile, shape = pair
    plan = make_plan(profile, shape, option)
    _check(profile, shape, plan)
    if option.n_ctx is not None:
        assert plan.n_ctx == option.n_ctx
    for name in ("n_threads", "type_k", "type_v", "n_batch", "use_mmap", "flash_attn"):
        if (wanted := getattr(option, name)) is not None:
            assert getattr(plan, name) == wanted


@_MANY
@given(pairs())
def test_every_machine_gets_a_plan(pair: tuple[HardwareProfile, ModelShape]) -> None:
    profile, shape = pair
    plan = make_plan(profile, shape)
    _check(profile, shape, plan)
    assert plan == make_plan(profile, shape)
    trained = shape.n_ctx_train or LEAST_CONTEXT
    assert min(trained, LEAST_CONTEXT) <= plan.n_ctx <= min(trained, DEFAULT_CONTEXT)
    assert plan.n_ctx % 256 == 0 or plan.n_ctx == trained


def _more(profile: HardwareProfile, which: int, more: int) -> HardwareProfile:
    device = profile.devices[which]
    larger = replace(
        device,
        total_bytes=(device.total_bytes or device.free_bytes or 0) + more,
        free_bytes=(device.free_bytes or 0) + more,
    )
    devices = (*profile.devices[:which], larger, *profile.devices[which + 1 :])
    return replace(profile, devices=devices)


def _own(profile: HardwareProfile) -> HardwareProfile:
    devices = tuple(replace(device, unified=False) for device in profile.devices)
    return replace(profile, devices=devices)


@_MANY
@given(pairs(), st.integers(0, 40 * GIB), st.data())
def test_more_device_memory_never_means_fewer_layers(
    pair: tuple[HardwareProfile, ModelShape], more: int, data: st.DataObject
) -> None:
    profile, shape = pair
    # A device's own memory: of unified memory it would only seem to be more.
    profile = _own(profile)
    if not profile.devices:
        profile = replace(profile, devices=(Device("D", "", "CUDA", "gpu", GIB, GIB),))
    which = data.draw(st.integers(0, len(profile.devices) - 1))
    before = make_plan(profile, shape)
    after = make_plan(_more(profile, which, more), shape)
    assert after.n_gpu_layers >= before.n_gpu_layers
    assert after.n_ctx >= before.n_ctx or after.n_gpu_layers > before.n_gpu_layers
    if after.n_gpu_layers == before.n_gpu_layers:
        assert after.n_cpu_moe <= before.n_cpu_moe
    if before.fits:
        assert after.fits


@_MANY
@given(pairs(), st.integers(0, 200 * GIB))
def test_more_memory_never_means_a_shorter_context(
    pair: tuple[HardwareProfile, ModelShape], more: int
) -> None:
    profile, shape = pair
    memory = profile.memory or Memory(GIB, GIB)
    before = make_plan(replace(profile, memory=memory), shape)
    larger = replace(memory, total=memory.total + more, available=memory.available + more)
    after = make_plan(replace(profile, memory=larger), shape)
    assert after.n_ctx >= before.n_ctx
    assert after.n_gpu_layers >= before.n_gpu_layers
    if before.fits:
        assert after.fits


@_MANY
@given(pairs(), st.none() | st.integers(16, 200_000))
def test_what_fits_without_devices_fits_with_them(
    pair: tuple[HardwareProfile, ModelShape], n_ctx: int | None
) -> None:
    profile, shape = pair
    option = PlanOptions(n_ctx=n_ctx)
    if make_plan(replace(profile, devices=()), shape, option).fits:
        assert make_plan(profile, shape, option).fits


def test_a_device_that_shares_the_memory_is_left_out_where_it_leaves_too_little() -> None:
    shape = _shape("Llama-3.1-8B.Q4_0")
    need = make_plan(machine(64 * GIB), shape, PlanOptions(n_ctx=LEAST_CONTEXT)).estimate.total
    profile = machine(16 * GIB, 3 * GIB, unified=True)

    def plan(spare: int) -> OffloadPlan:
        memory = Memory(16 * GIB, need + GIB + spare)  # a GiB is left for others
        return make_plan(replace(profile, memory=memory), shape)

    assert (plan(0).fits, plan(0).n_gpu_layers) == (True, 0)
    assert "layers: none on devices: there is too little free memory for any" in plan(0).reasons
    assert not plan(-1).fits
    assert 1 < plan(GIB).n_gpu_layers < 33


@_MANY
@given(pairs(), plan_options())
def test_a_suggested_context_runs(
    pair: tuple[HardwareProfile, ModelShape], option: PlanOptions
) -> None:
    profile, shape = pair
    plan = make_plan(profile, shape, option)
    for suggestion in plan.suggestions:
        words = suggestion.split()
        if "--ctx" not in words or "kept as" in str(plan.problem) or plan.problem is None:
            continue
        smaller = replace(option, n_ctx=int(words[words.index("--ctx") + 1]))
        if "--kv" in words:
            smaller = replace(smaller, type_k="q8_0", type_v="q8_0")
        again = make_plan(profile, shape, smaller)
        assert again.fits or "kept as" in str(again.problem)


def test_a_plan_is_little_work() -> None:
    """Counted, as clocks tell of the machine's other work too: this many calls take less than ten
    milliseconds where `benchmarks.plan` was measured."""
    machines_ = [machine(64 * GIB), machine(32 * GIB, *([24 * GIB] * 8)), machine(GIB, GIB)]
    for name in ("Llama-3.1-70B.Q4_0", "qwen3next-80b.Q4_0", "llama4-scout.Q4_0"):
        shape = _shape(name)
        for profile in machines_:
            assert calls(partial(make_plan, profile, shape)) < _MOST_CALLS, (name, profile)


def test_what_cannot_run_is_no_more_work() -> None:
    """Suggestions are tried out, each with a plan of its own."""
    shapes = [_shape(name) for name in ("gemma-2-27b.Q4_0", "Qwen3-30B-A3B.Q4_0")]
    deep = shapes[1]
    shapes.append(replace(deep, layers=deep.layers * 3))
    machines_ = [machine(2 * GIB, *([size * GIB] * 16)) for size in (1, 3)] + [machine(GIB)]
    for shape in shapes:
        for profile in machines_:
            for option in (PlanOptions(), PlanOptions(n_gpu_layers=-1), PlanOptions(n_ctx=1 << 24)):
                plan = make_plan(profile, shape, option)
                assert plan.suggestions or plan.fits
                count = calls(partial(make_plan, profile, shape, option))
                assert count < _MOST_CALLS, (shape.architecture, profile, option)


def test_no_context_is_suggested_where_the_weights_alone_are_too_much() -> None:
    plan = make_plan(
        machine(16 * GIB, 6 * GIB), _shape("Llama-3.1-70B.Q4_0"), PlanOptions(n_ctx=50_000)
    )
    assert plan.suggestions == ("a smaller model",)


def test_no_context_is_suggested_that_the_model_was_not_trained_with() -> None:
    shape = _shape("Llama-3.2-1B.Q4_0")
    plan = make_plan(machine(64 * GIB), shape, PlanOptions(n_ctx=1 << 24))
    assert plan.suggestions[0] == f"a shorter context: --ctx {shape.n_ctx_train}"


def test_what_is_said_about_the_context_is_true() -> None:
    shape = _shape("Llama-3.1-8B.Q4_0")
    beyond = make_plan(machine(64 * GIB), shape, PlanOptions(n_ctx=200_000))
    assert any("trained with 131,072: it may lose track" in reason for reason in beyond.reasons)
    hopeless = make_plan(machine(4 * GIB), shape)
    (context,) = [reason for reason in hopeless.reasons if reason.startswith("context")]
    assert "no shorter one is tried unasked" in context
    assert "to fit" not in context


def test_types_that_llama_cpp_refuses_are_a_problem() -> None:
    profile = machine(256 * GIB)
    latent = _shape("deepseek-v2-lite.Q4_0")
    assert "are one" in str(make_plan(profile, latent, PlanOptions(type_k="q8_0")).problem)
    assert make_plan(profile, latent, PlanOptions(type_k="q8_0", type_v="q8_0")).fits
    grok = _shape("grok-16-layers.Q4_0")
    assert "flash attention only" in str(
        make_plan(profile, grok, PlanOptions(type_v="q8_0")).problem
    )
    assert make_plan(profile, grok, PlanOptions(type_k="q8_0")).fits


def test_everything_on_the_device_where_there_is_room() -> None:
    plan = make_plan(machine(64 * GIB, 24 * GIB), _shape("Llama-3.1-8B.Q4_0"))
    assert (plan.n_gpu_layers, plan.n_layers, plan.n_ctx) == (33, 33, 8192)
    assert plan.tensor_split is None
    assert plan.flash_attn == "auto"


def test_the_context_is_lowered_before_layers_are_left_out() -> None:
    shape = _shape("Llama-3.1-8B.Q4_0")
    profile = machine(64 * GIB, int(6.6 * GIB))
    plan = make_plan(profile, shape)
    assert plan.n_gpu_layers == 33
    assert LEAST_CONTEXT <= plan.n_ctx < DEFAULT_CONTEXT
    assert any("instead of 8,192" in reason for reason in plan.reasons)
    asked = make_plan(profile, shape, PlanOptions(n_ctx=8192))
    assert asked.n_ctx == 8192
    assert 0 < asked.n_gpu_layers < 33


def test_layers_are_filled_from_the_back() -> None:
    plan = make_plan(machine(64 * GIB, 4 * GIB), _shape("Llama-3.1-8B.Q4_0"))
    assert plan.n_ctx == LEAST_CONTEXT
    assert 1 < plan.n_gpu_layers < 33
    assert plan.fits


def test_experts_go_to_host_memory_first() -> None:
    shape = _shape("Mixtral-8x7B-v0.1.Q4_0")
    plan = make_plan(machine(64 * GIB, 12 * GIB), shape)
    assert plan.n_gpu_layers == 33
    assert 0 < plan.n_cpu_moe < 32
    assert plan.fits
    larger = make_plan(machine(64 * GIB, 20 * GIB), shape)
    assert larger.n_cpu_moe < plan.n_cpu_moe


def test_layers_are_split_by_free_memory() -> None:
    plan = make_plan(machine(128 * GIB, 48 * GIB, 24 * GIB), _shape("Llama-3.1-70B.Q4_0"))
    assert plan.n_gpu_layers == 81
    assert plan.tensor_split is not None
    first, second = plan.tensor_split
    assert first == pytest.approx(2 * second, abs=3)


def test_unified_memory_counts_once() -> None:
    shape = _shape("Llama-3.1-8B.Q4_0")
    fits = make_plan(machine(16 * GIB, 12 * GIB, unified=True), shape)
    assert fits.fits
    assert fits.n_gpu_layers == 33
    # 5 GiB of model, in 6 GiB of which 1 is left alone: there is no second memory to use.
    little = replace(machine(6 * GIB, 6 * GIB, unified=True), memory=Memory(6 * GIB, 5 * GIB))
    assert not make_plan(little, shape).fits


def test_integrated_graphics_only_where_there_is_nothing_better() -> None:
    shape = _shape("Llama-3.2-1B.Q4_0")
    both = machine(32 * GIB, 8 * GIB)
    integrated = Device("iGPU", "", "Vulkan", "igpu", 16 * GIB, 16 * GIB, unified=True)
    plan = make_plan(replace(both, devices=(integrated, *both.devices)), shape)
    assert [budget.name for budget in plan.budgets] == ["host", "GPU0"]
    alone = make_plan(replace(both, devices=(integrated,)), shape)
    assert alone.n_gpu_layers == alone.n_layers


def test_remote_devices_come_first() -> None:
    profile = machine(64 * GIB, 24 * GIB)
    remote = Device("RPC0", "", "RPC", "gpu", 24 * GIB, 24 * GIB)
    plan = make_plan(
        replace(profile, devices=(*profile.devices, remote)), _shape("Llama-3.1-8B.Q4_0")
    )
    assert [budget.name for budget in plan.budgets] == ["host", "RPC0", "GPU0"]


def test_a_device_that_says_nothing_gets_nothing() -> None:
    profile = machine(64 * GIB)
    silent = Device("GPU0", "", "Vulkan", "gpu")
    plan = make_plan(replace(profile, devices=(silent,)), _shape("Llama-3.1-8B.Q4_0"))
    assert plan.n_gpu_layers == 0
    assert plan.fits


def test_what_cannot_run_says_why_and_what_would() -> None:
    shape = _shape("Llama-3.1-8B.Q4_0")
    plan = make_plan(machine(5 * GIB), shape)
    assert plan.problem is not None
    assert "memory" in plan.problem
    assert any("smaller quantization" in suggestion for suggestion in plan.suggestions)
    long = make_plan(machine(16 * GIB), shape, PlanOptions(n_ctx=131_072))
    assert long.suggestions[0] == "a shorter context: --ctx 65536"
    assert make_plan(machine(16 * GIB), shape, PlanOptions(n_ctx=65_536)).fits
    greedy = make_plan(machine(64 * GIB, 4 * GIB), shape, PlanOptions(n_gpu_layers=-1))
    assert "GPU0" in str(greedy.problem)
    assert "leave out --gpu-layers" in greedy.suggestions[0]
    assert make_plan(machine(GIB), shape).suggestions == ("a smaller model",)


def test_keys_that_cannot_be_quantized_are_a_problem() -> None:
    plan = make_plan(
        machine(64 * GIB), _shape("phi-2.Q4_0"), PlanOptions(type_k="q8_0", type_v="q8_0")
    )
    assert "multiple of 32" in str(plan.problem)
    assert plan.suggestions == ("keys and values as they are usually kept: leave out --kv",)
    plan = make_plan(
        machine(64 * GIB),
        _shape("Llama-3.1-8B.Q4_0"),
        PlanOptions(type_v="q8_0", flash_attn="off"),
    )
    assert "flash attention only" in str(plan.problem)


def test_threads_come_from_the_machine_or_from_measuring() -> None:
    shape = _shape("SmolLM2-135M-Instruct.Q4_0")
    profile = machine(8 * GIB, threads=6)
    assert make_plan(profile, shape).n_threads == 6
    tuned = Tuned(n_threads=3, n_threads_batch=5, n_batch=1024, n_ubatch=256)
    plan = make_plan(profile, shape, tuned=tuned)
    assert (plan.n_threads, plan.n_threads_batch) == (3, 5)
    assert (plan.n_batch, plan.n_ubatch) == (1024, 256)
    plan = make_plan(profile, shape, PlanOptions(n_threads=2, n_batch=64), tuned=tuned)
    assert (plan.n_threads, plan.n_batch, plan.n_ubatch) == (2, 64, 64)


def test_fewer_layers_where_they_are_measured_to_be_faster() -> None:
    shape = _shape("Llama-3.1-8B.Q4_0")
    profile = machine(64 * GIB, 24 * GIB)
    tuned = Tuned(n_threads=3, n_threads_batch=3, n_gpu_layers=10)
    plan = make_plan(profile, shape, tuned=tuned)
    assert (plan.n_gpu_layers, plan.n_ctx) == (10, make_plan(profile, shape).n_ctx)
    assert any("10 of 33 on devices, measured" in reason for reason in plan.reasons)
    assert make_plan(profile, shape, PlanOptions(n_gpu_layers=20), tuned=tuned).n_gpu_layers == 20
    # What does not fit, or more than fit, is no reason to plan otherwise.
    little = machine(3 * GIB, 24 * GIB)
    assert make_plan(little, shape, tuned=tuned).n_gpu_layers == 33
    more = replace(tuned, n_gpu_layers=99)
    assert make_plan(profile, shape, tuned=more).n_gpu_layers == 33


def test_layers_that_are_not_loaded_count_as_llama_cpp_counts() -> None:
    shape = replace(_shape("Llama-3.1-8B.Q4_0"), unused_layers=1)
    plan = make_plan(machine(64 * GIB, 24 * GIB, 24 * GIB), shape)
    assert plan.n_gpu_layers == 34
    assert plan.tensor_split is not None
    assert sum(plan.tensor_split) == 34
    assert plan.n_layers == 33
