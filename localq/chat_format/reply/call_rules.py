"""How calls are written, by what a chat template says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localq.chat_format.reply.format import CallSyntax
from localq.chat_format.reply.json_calls import (
    DeepSeekCalls,
    JsonCalls,
    KimiCalls,
    SolarCall,
    mistral_calls,
)
from localq.chat_format.reply.literal_calls import GemmaCall, PythonicCalls
from localq.chat_format.reply.mixed_calls import FunctionTag, ToolCallTag
from localq.chat_format.reply.start_calls import action_calls, bare_calls, python_tag_calls
from localq.chat_format.reply.xml_calls import KeyValueCall, TaggedCalls

__all__ = ["CALL_RULES", "HERMES", "CallRule"]


@dataclass(frozen=True, slots=True)
class CallRule:
    name: str
    needs: tuple[str, ...]
    """Texts that the template has to hold, all of them."""
    calls: tuple[CallSyntax, ...]
    control: tuple[str, ...] = ()
    """Markers within calls that may be control tokens."""
    silent: tuple[str, ...] = ()


_DSML = "｜DSML｜"
_QWEN_XML = TaggedCalls(
    call="<function=",
    parameter="<parameter=",
    close_name=">",
    end_parameter="</parameter>",
    end_call="</function>",
    ends=("</tool_call>", "</seed:tool_call>"),
    lines=True,
)
_INVOKE = TaggedCalls(
    call='<invoke name="',
    parameter='<parameter name="',
    close_name='">',
    end_parameter="</parameter>",
    end_call="</invoke>",
    ends=("</minimax:tool_call>",),
)


def _dsml(section: str) -> CallSyntax:
    return CallSyntax(
        (f"<{_DSML}{section}>",),
        TaggedCalls(
            call=f'<{_DSML}invoke name="',
            parameter=f'<{_DSML}parameter name="',
            close_name='">',
            end_parameter=f"</{_DSML}parameter>",
            end_call=f"</{_DSML}invoke>",
            ends=(f"</{_DSML}{section}>",),
            typed=True,
        ),
    )


def _json(*opens: str, ends: tuple[str, ...] = (), control: bool = False) -> CallSyntax:
    return CallSyntax(opens, JsonCalls(ends), ends_thinking=control)


_TOOL_CALL = CallSyntax(("<tool_call>",), ToolCallTag(_QWEN_XML))
_FUNCTION = CallSyntax(("<function=",), FunctionTag(_QWEN_XML))
_BARE = CallSyntax(("{", "["), bare_calls, at_start=True)


_COMMAND = _json("<|START_ACTION|>", ends=("<|END_ACTION|>",), control=True)
_DEEPSEEK = CallSyntax(("<｜tool▁calls▁begin｜>",), DeepSeekCalls(), ends_thinking=True)
_KIMI = CallSyntax(("<|tool_calls_section_begin|>",), KimiCalls(), ends_thinking=True)
_LFM2 = CallSyntax(("<|tool_call_start|>",), PythonicCalls(("<|tool_call_end|>",)))
_LLAMA = (CallSyntax(("<|python_tag|>",), python_tag_calls), _FUNCTION, _BARE)
_OLMO = CallSyntax(("<function_calls>",), PythonicCalls(("</function_calls>",)))
_MINICPM = TaggedCalls(
    call='<function name="',
    parameter='<param name="',
    close_name='">',
    end_parameter="</param>",
    end_call="</function>",
)
HERMES = CallRule("hermes", ("<tool_call>",), (_TOOL_CALL,), ("</tool_call>",))

# The first that fits.
CALL_RULES = (
    CallRule("kimi", ("<|tool_calls_section_begin|>",), (_KIMI,), KimiCalls.marks),
    CallRule("deepseek", ("<｜tool▁call▁begin｜>",), (_DEEPSEEK,), DeepSeekCalls.marks),
    CallRule("deepseek-dsml", (_DSML,), (_dsml("function_calls"), _dsml("tool_calls")), (_DSML,)),
    CallRule(
        "mistral",
        ("[TOOL_CALLS]",),
        (CallSyntax(("[TOOL_CALLS]",), mistral_calls, ends_thinking=True),),
        ("[ARGS]", "[CALL_ID]"),
    ),
    CallRule("command", ("<|START_ACTION|>",), (_COMMAND,), ("<|END_ACTION|>",)),
    CallRule("command-r", ("Action:", "```json"), (CallSyntax(("Action:",), action_calls),)),
    CallRule(
        "apertus",
        ("<|tools_prefix|>",),
        (
            CallSyntax(
                ("<|tools_prefix|>",),
                JsonCalls(("<|tools_suffix|>",), keyed=True),
                ends_thinking=True,
            ),
        ),
        ("<|tools_suffix|>",),
    ),
    CallRule(
        "minimax",
        ("<minimax:tool_call>",),
        (CallSyntax(("<minimax:tool_call>",), _INVOKE),),
        ("</minimax:tool_call>",),
    ),
    CallRule(
        "seed",
        ("<seed:tool_call>",),
        (CallSyntax(("<seed:tool_call>",), replace(_QWEN_XML, lines=False)),),
        ("</seed:tool_call>",),
    ),
    *(
        CallRule("lfm2", (mark,), (_LFM2,), ("<|tool_call_end|>",))
        for mark in ("<|tool_call_start|>", "<|tool_list_start|>", "List of tools: [")
    ),
    CallRule(
        "gemma4",
        ("<|tool_call>",),
        (CallSyntax(("<|tool_call>",), GemmaCall("<tool_call|>", '<|"|>'), ends_thinking=True),),
        ("<tool_call|>", '<|"|>'),
    ),
    CallRule(
        "functiongemma",
        ("<start_function_call>",),
        (CallSyntax(("<start_function_call>",), GemmaCall("<end_function_call>", "<escape>")),),
        ("<end_function_call>", "<escape>"),
    ),
    CallRule("nemotron", ("<TOOLCALL>",), (_json("<TOOLCALL>", ends=("</TOOLCALL>",)),)),
    CallRule("tool_calls", ("<tool_calls>",), (_json("<tool_calls>", ends=("</tool_calls>",)),)),
    CallRule(
        "solar",
        ("<|tool_call:begin|>",),
        (CallSyntax(("<|tool_call:begin|>",), SolarCall(), ends_thinking=True),),
        SolarCall.marks,
        silent=("<|tool_calls|>", "<|calls|>"),
    ),
    CallRule("gigachat", ("<|function_call|>",), (_json("<|function_call|>", control=True),)),
    CallRule(
        "gigachat3",
        ("function call", "<|role_sep|>"),
        (_json("function call<|role_sep|>"),),
        ("<|role_sep|>",),
        silent=("<|message_sep|>",),
    ),
    CallRule("firefunction", ("functools[",), (_json("functools"),)),
    CallRule(
        "granite",
        ("<|tool_call|>",),
        (_json("<|tool_call|>", "<tool_call>", ends=("<|/tool_call|>", "</tool_call>")),),
        ("<|/tool_call|>",),
    ),
    CallRule("glm", ("<arg_key>",), (_TOOL_CALL,), KeyValueCall.marks),
    CallRule("qwen3-coder", ("<tool_call>", "<function="), (_TOOL_CALL, _FUNCTION)),
    HERMES,
    CallRule("functionary-3.1", ("<function=",), (_FUNCTION, *_LLAMA[:1])),
    CallRule(
        "minicpm5", ('<function name="',), (CallSyntax(('<function name="',), _MINICPM.after_tag),)
    ),
    CallRule("llama3", ('"parameters": dictionary of argument name',), _LLAMA),
    CallRule("llama3", ("<|python_tag|>",), _LLAMA),
    CallRule("pythonic", ("<function_calls>",), (_OLMO,)),
    *(
        CallRule("pythonic", (mark,), (_BARE,))
        for mark in ("[func_name1(", "[func_name(", "[function_name(")
    ),
)
