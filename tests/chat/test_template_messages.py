"""Messages with thinking, calls and results as templates of all kinds take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localq.chat_format.choose_template import choose_template, own_templates
from localq.chat_format.message import ChatMessage, ToolCall
from localq.chat_format.template import ChatTemplate
from localq.chat_format.thinking import thinking_control
from localq.errors import UnsupportedError, UsageError
from tests.reference.record_replies import TOOLS

CALL = ToolCall("now", '{"zone": "北京"}', "call-1")
OTHER = ToolCall("now", "{}", "call-2")
ASKED = ChatMessage("user", "What time is it?")
CALLED = ChatMessage("assistant", "", tool_calls=(CALL,))
RESULT = ChatMessage("tool", "noon", tool_call_id="call-1")
OTHER_RESULT = ChatMessage("tool", "midnight", tool_call_id="call-2")
CHATML = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def given(source: str, *messages: ChatMessage, **options: Any) -> Any:
    """The messages as a template that uses `source` (in a comment) gets them."""
    template = ChatTemplate(source + "{{ messages | tojson }}")
    return json.loads(template.render(messages, **options))


def test_calls_and_results() -> None:
    assert given("{# tools tool_calls #}", ASKED, CALLED, RESULT) == [
        {"role": "user", "content": "What time is it?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "type": "function",
                    "id": "call-1",
                    "function": {"name": "now", "arguments": {"zone": "北京"}},
                }
            ],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "call-1", "name": "now"},
    ]


def test_arguments_are_a_text_where_an_object_does_not_do() -> None:
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}"
    )
    assert ChatTemplate(source).render([ASKED, CALLED]) == 'now{"zone": "北京"}'
    broken = ChatMessage("assistant", "", tool_calls=(ToolCall("now", "{broken"),))
    assert ChatTemplate(source).render([ASKED, broken]) == "now{broken"


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("{{ m.reasoning_content }}", "reasoning_content"),
        ("{{ m['thinking'] }}", "thinking"),
        ("{{ m.get('reasoning') }}", "reasoning"),
        ("{% if 'thought' in m %}", "thought"),
    ],
)
def test_thinking_goes_where_the_template_looks_for_it(source: str, key: str) -> None:
    thought = ChatMessage("assistant", "Yes", "Hm")
    comment = "{% raw %}" + source + "{% endraw %}"
    text = ChatTemplate(comment + "{{ messages | tojson }}").render([ASKED, thought])
    written = json.loads(text.removeprefix(source))[1]
    assert written == {"role": "assistant", "content": "Yes", key: "Hm"}
    assert given("", ASKED, thought)[1] == {"role": "assistant", "content": "Yes"}


def test_a_template_without_a_system_role() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    template = ChatTemplate(source)
    assert template.render([ChatMessage("system", "Be kind."), ASKED]) == (
        "Be kind.\n\nWhat time is it?"
    )
    assert given("", ChatMessage("developer", "x"))[0]["role"] == "system"
    assert given("{# developer #}", ChatMessage("developer", "x"))[0]["role"] == "developer"


def test_one_call_a_message_where_a_template_takes_no_more() -> None:
    two = ChatMessage("assistant", "", tool_calls=(CALL, OTHER))
    written = given("{# tools tool_calls[0] #}", ASKED, two, RESULT, OTHER_RESULT)
    assert [m["role"] for m in written] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [m["content"] for m in written[2::2]] == ["noon", "midnight"]
    written = given("{# tools tool_calls[0] #}", ASKED, two, OTHER_RESULT, RESULT)
    assert [m["role"] for m in written] == ["user", "assistant", "assistant", "tool", "tool"]


@pytest.mark.parametrize("condition", ["m.content is none", "not m.content"])
def test_calls_that_a_template_writes_only_where_nothing_is_said(condition: str) -> None:
    source = (
        "{% for m in messages %}[{{ m.role }}]{% if m.tool_calls and CONDITION %}"
        "{% for c in m.tool_calls %}<{{ c.function.name }}>{% endfor %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    template = ChatTemplate(source.replace("CONDITION", condition))
    said = ChatMessage("assistant", "Let me see.", tool_calls=(CALL, OTHER))
    assert template.render([said]) == "[assistant]Let me see.[assistant]<now><now>"
    assert template.render([CALLED]) == "[assistant]<now>"


def test_ids_that_mistral_takes() -> None:
    written = given("{# tool_calls, id | length != 9 #}", ASKED, CALLED, RESULT)
    id_ = written[1]["tool_calls"][0]["id"]
    assert len(id_) == 9
    assert id_.isalnum()
    assert written[2]["tool_call_id"] == id_


def test_tools_for_a_template_without_a_place_for_them() -> None:
    template = ChatTemplate(CHATML)
    assert not template.takes_tools
    called = ChatMessage("assistant", "Let me see.", tool_calls=(CALL, OTHER))
    text = template.render([ASKED, called, RESULT, OTHER_RESULT], tools=TOOLS)
    assert text.startswith("[system]# Tools")
    assert '"get_weather"' in text
    assert text.endswith(
        "[user]What time is it?[assistant]Let me see.\n"
        '<tool_call>\n{"name": "now", "arguments": {"zone": "北京"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
        "[user]<tool_response>\nnoon\n</tool_response>\n<tool_response>\nmidnight\n</tool_response>"
    )
    documents = [{"title": "Clocks", "text": "They tick."}]
    text = template.render([ChatMessage("system", "Be kind."), ASKED], documents=documents)
    assert text.startswith("[system]Be kind.\n\n# Documents\n\n## Clocks\n\nThey tick.[user]")


def test_tools_documents_and_variables_reach_the_template() -> None:
    source = (
        "{{ tools | length }}{{ documents[0].title }}{{ enable_thinking }}{{ effort }}"
        "{{ messages[0].content }}"
    )
    text = ChatTemplate(source).render(
        [ASKED],
        tools=TOOLS,
        documents=[{"title": "T", "text": ""}],
        variables={"enable_thinking": False, "effort": "low", "messages": "not these"},
    )
    assert text == "2TFalselowWhat time is it?"


def test_published_templates_take_a_conversation_with_tools(material: Path) -> None:
    conversation = [
        ChatMessage("system", "Be kind."),
        ASKED,
        ChatMessage("assistant", "Let me see.", "Hm.", (CALL, OTHER)),
        RESULT,
        OTHER_RESULT,
        ChatMessage("assistant", "It is late."),
        ChatMessage("user", "Thanks"),
    ]
    for path in sorted((material / "tokenizers" / "chat-templates").glob("*.jinja")):
        template = ChatTemplate(path.read_text(encoding="utf-8"), "<s>", "</s>")
        text = template.render(conversation, tools=TOOLS)
        for said in ("noon", "midnight", "It is late.", "Thanks", "北京", "Be kind."):
            assert said in text or json.dumps(said)[1:-1] in text, (path.stem, said)


def test_a_list_that_a_template_keeps() -> None:
    source = (
        "{% set ns = namespace(ids=[]) %}{% for m in messages %}"
        "{% set _ = ns.ids.append(m.role) %}{% endfor %}"
        "{% set first = ns.ids.pop(0) %}{{ first }}{{ ns.ids }}"
    )
    assert ChatTemplate(source).render([ASKED, CALLED, ASKED]) == "user['assistant', 'user']"


def test_a_message_of_ten_megabytes() -> None:
    long = ChatMessage("user", "很长 " * 3_500_000)
    template = ChatTemplate("{% for m in messages %}<{{ m.role + m.content }}>{% endfor %}")
    assert template.render([long]) == f"<user{long.content}>"
    too_long = ChatMessage("user", "x" * (17 << 20))
    with pytest.raises(UnsupportedError, match="it makes more than") as caught:
        template.render([too_long])
    assert "\n" not in caught.value.message


METADATA: dict[str, object] = {
    "general.name": "Small Instruct",
    "tokenizer.ggml.tokens": ["<s>", "</s>", "<|im_start|>"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
}
OWN = "{{ bos_token }}{{ messages[0].content }}"


def test_a_models_own_templates() -> None:
    metadata = {
        **METADATA,
        "tokenizer.chat_template": OWN,
        "tokenizer.chat_template.tool_use": OWN + "{{ tools | length }}",
        "tokenizer.chat_template.rag": OWN + "{{ documents | length }}",
        "tokenizer.chat_templates": ["tool_use", "rag"],
    }
    assert list(own_templates(metadata)) == ["", "tool_use", "rag"]
    for options, name in (
        ({}, ""),
        ({"tools": True}, "tool_use"),
        ({"documents": True}, "rag"),
        ({"choice": "rag"}, "rag"),
        ({"choice": "chatml"}, "chatml"),
    ):
        chosen = choose_template(metadata, **options)
        assert chosen
        assert chosen.name == name
        assert chosen.warning is None
        assert chosen.template.bos_token == "<s>"
    assert choose_template(metadata, "none") is None
    with pytest.raises(UsageError, match="'nonsense' is neither"):
        choose_template(metadata, "nonsense")


def test_a_fallback_by_name_with_a_warning() -> None:
    broken = {**METADATA, "tokenizer.chat_template": "a\n{% if %}"}
    chosen = choose_template(broken)
    assert chosen
    assert chosen.name == "chatml"
    assert str(chosen.warning).startswith("the model's chat template does not work (line 2)")
    assert str(chosen.warning).endswith(": chatml is used instead")
    missing = choose_template(METADATA)
    assert missing
    assert str(missing.warning) == (
        "the model has no chat template: chatml is used, as its vocabulary suggests"
    )
    assert choose_template({**METADATA, "general.name": "Small Base"}) is None
    with pytest.raises(UnsupportedError, match="line 2") as caught:
        choose_template({"tokenizer.chat_template": "a\n{% if %}"})
    assert "--template chatml" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("source", "think", "effort", "variables"),
    [
        ("{{ enable_thinking }}", False, None, {"enable_thinking": False}),
        (
            "{{ enable_thinking }}{{ thinking }}",
            None,
            "none",
            dict.fromkeys(("enable_thinking", "thinking"), False),
        ),
        ("{{ enable_thinking }}", None, "high", {"enable_thinking": True}),
        ("{{ reasoning_effort }}", None, "high", {"reasoning_effort": "high"}),
        ("{{ reasoning_effort }}", False, None, {"reasoning_effort": "low"}),
        ("{{ thinking_budget }}", False, None, {"thinking_budget": 0}),
        ("{{ thinking_mode }}", True, None, {"thinking_mode": "enabled"}),
        ("{{ enable_thinking }}", None, None, {}),
        ("{{ messages }}", False, "high", {}),
    ],
)
def test_variables_for_thinking(
    source: str, think: bool | None, effort: str | None, variables: dict[str, Any]
) -> None:
    assert thinking_control(ChatTemplate(source)).variables(think, effort) == variables


def test_thinking_that_a_message_turns_off() -> None:
    control = thinking_control(
        ChatTemplate("{% if '/no_think' in messages[0].content %}{% endif %}")
    )
    assert control.can_switch
    assert control.messages([ASKED], None) == [ASKED]
    assert control.messages([ASKED], False) == [ChatMessage("system", "/no_think"), ASKED]
    assert control.messages([ASKED], None, "none") == control.messages([ASKED], False)
    assert control.messages([ASKED], None, "low") == control.messages([ASKED], True)
    kind = ChatMessage("system", "Be kind.")
    assert control.messages([kind, ASKED], True)[0].content == "Be kind.\n/think"
