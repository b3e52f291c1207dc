"""How calls are written by models of a format, for grammars that make them write one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CALL_FORMS", "CallForm", "form_of"]


@dataclass(frozen=True, slots=True)
class CallForm:
    """`begin`NAME`named`ARGUMENTS`end`. Arguments are a JSON object, unless there is `argument`."""

    begin: str
    named: str
    end: str
    argument: tuple[str, str, str] | None = None
    """What stands before and after each argument's name, and after its value."""
    between: str = ""
    """What stands between arguments."""
    quote: str = '"'
    """What stands around strings; "" nothing: they are as they are."""
    typed: str = ""
    """Instead of argument[1], after the name of one that is a string."""
    thinking: tuple[str, str] | None = None
    """What stands around thinking in front of a call, if not what the format says."""
    needs: str = ""
    """What a template has to hold, where there are several forms."""


def _json(begin: str, end: str, arguments: str = "arguments", name: str = "name") -> CallForm:
    return CallForm(f'{begin}{{"{name}": "', f'", "{arguments}": ', f"}}{end}")


_DSML = "｜DSML｜"
_PYTHON = ("", "=", "")
_DEEPSEEK = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
_DEEPSEEK_END = "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


def _dsml(section: str, needs: str = "") -> CallForm:
    return CallForm(
        f'<{_DSML}{section}>\n<{_DSML}invoke name="',
        '">\n',
        f"</{_DSML}invoke>\n</{_DSML}{section}>",
        (f'<{_DSML}parameter name="', '" string="false">', f"</{_DSML}parameter>\n"),
        quote="",
        typed='" string="true">',
        needs=needs,
    )


# By the name of the rule that tells the format; the first whose `needs` are met.
CALL_FORMS: dict[str, tuple[CallForm, ...]] = {
    "kimi": (
        CallForm(
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
            ":0<|tool_call_argument_begin|>",
            "<|tool_call_end|><|tool_calls_section_end|>",
        ),
    ),
    "deepseek": (
        CallForm(
            f"{_DEEPSEEK}function<｜tool▁sep｜>",
            "\n```json\n",
            f"\n```{_DEEPSEEK_END}",
            needs="```json",
        ),
        CallForm(_DEEPSEEK, "<｜tool▁sep｜>", _DEEPSEEK_END),
    ),
    "deepseek-dsml": (_dsml("function_calls", "function_calls"), _dsml("tool_calls")),
    "mistral": (
        CallForm("[TOOL_CALLS]", "[ARGS]", "", needs="[ARGS]"),
        _json("[TOOL_CALLS][", "]"),
    ),
    "command": (
        CallForm(
            '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "',
            '", "parameters": ',
            "}\n]<|END_ACTION|>",
        ),
    ),
    "command-r": (_json("Action:\n```json\n[\n", "\n]```", "parameters", "tool_name"),),
    "apertus": (CallForm('<|tools_prefix|>[{"', '": ', "}]<|tools_suffix|>"),),
    "minimax": (
        CallForm(
            '<minimax:tool_call>\n<invoke name="',
            '">\n',
            "</invoke>\n</minimax:tool_call>",
            ('<parameter name="', '">', "</parameter>\n"),
            quote="",
        ),
    ),
    "seed": (
        CallForm(
            "<seed:tool_call>\n<function=",
            ">\n",
            "</function>\n</seed:tool_call>",
            ("<parameter=", ">", "</parameter>\n"),
            quote="",
        ),
    ),
    "lfm2": (CallForm("<|tool_call_start|>[", "(", ")]<|tool_call_end|>", _PYTHON, ", "),),
    "gemma4": (
        CallForm("<|tool_call>call:", "{", "}<tool_call|>", ("", ":", ""), ",", quote='<|"|>'),
    ),
    "functiongemma": (
        CallForm(
            "<start_function_call>call:",
            "{",
            "}<end_function_call>",
            ("", ":", ""),
            ",",
            quote="<escape>",
        ),
    ),
    "nemotron": (_json("<TOOLCALL>[", "]</TOOLCALL>"),),
    "tool_calls": (_json("<tool_calls>[", "]</tool_calls>"),),
    "gigachat": (_json("<|function_call|>", ""),),
    "gigachat3": (_json("<|message_sep|>\n\nfunction call<|role_sep|>\n", ""),),
    "firefunction": (_json(" functools[", "]"),),
    "granite": (_json("<|tool_call|>[", "]"),),
    "glm": (
        CallForm(
            "<tool_call>",
            "\n",
            "</tool_call>",
            ("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n"),
            quote="",
            needs="<tool_call>{function-name}\n",
        ),
        CallForm(
            "<tool_call>",
            "",
            "</tool_call>",
            ("<arg_key>", "</arg_key><arg_value>", "</arg_value>"),
            quote="",
        ),
    ),
    "qwen3-coder": (
        CallForm(
            "<tool_call>\n<function=",
            ">\n",
            "</function>\n</tool_call>",
            ("<parameter=", ">\n", "\n</parameter>\n"),
            quote="",
        ),
    ),
    "hermes": (_json("<tool_call>\n", "\n</tool_call>"),),
    "functionary-3.1": (CallForm("<function=", ">", "</function>"),),
    "functionary": (CallForm("", "\n", ""),),
    "minicpm5": (
        CallForm(
            '<function name="',
            '">',
            "</function>",
            ('<param name="', '">', "</param>"),
            quote="",
        ),
    ),
    "llama3": (_json("", "", "parameters"),),
    "pythonic": (
        CallForm(
            "<function_calls>\n",
            "(",
            ")\n</function_calls>",
            _PYTHON,
            ", ",
            needs="<function_calls>",
        ),
        CallForm("[", "(", ")]", _PYTHON, ", "),
    ),
    "solar": (
        CallForm(
            "<|tool_calls|><|tool_call:begin|>{id}<|tool_call:name|>",
            "<|tool_call:args|>",
            "<|tool_call:end|>",
            thinking=("<|think|>", "<|end|><|begin|>assistant"),
        ),
    ),
    "harmony": (
        CallForm(
            "<|channel|>commentary to=functions.",
            " <|constrain|>json<|message|>",
            "",
            thinking=("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
        ),
    ),
}


def form_of(rule: str, template: str = "") -> CallForm:
    """The form for the rule that `template` is told by; without one, as most write calls."""
    forms = CALL_FORMS.get(rule, CALL_FORMS["hermes"])
    return next(form for form in forms if form.needs in template)
