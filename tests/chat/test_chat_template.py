"""Chat templates: those of published models, and those of people with bad intentions."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

import pytest

from localq.chat_format import limits
from localq.chat_format.message import ChatMessage
from localq.chat_format.template import ChatTemplate
from localq.errors import UnsupportedError

CONVERSATION = (
    ChatMessage("user", 'Hello <there> & "you"'),
    ChatMessage("assistant", "你好"),
    ChatMessage("user", "Goodbye"),
)
CHATML = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def render(source: str) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(CONVERSATION)


def refusal(source: str) -> str:
    with pytest.raises(UnsupportedError) as caught:
        render(source)
    message = caught.value.message
    assert message.startswith("the model's chat template ")
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_chatml() -> None:
    template = ChatTemplate(CHATML, "<s>", "</s>")
    hello = [ChatMessage("user", "Hello")]
    assert template.render(hello) == (
        "<s><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.render(hello, add_generation_prompt=False) == (
        "<s><|im_start|>user\nHello<|im_end|>\n"
    )


def test_published_templates_render(material: Path) -> None:
    sources = sorted((material / "tokenizers" / "chat-templates").glob("*.jinja"))
    assert len(sources) == 55
    for source in sources:
        text = render(source.read_text(encoding="utf-8"))
        assert "Goodbye" in text, source.name
        assert "你好" in text, source.name
        assert 'Hello <there> & "you"' in text, source.name  # no HTML


def test_a_long_conversation_is_within_the_limits(material: Path) -> None:
    messages = [
        ChatMessage("assistant" if i % 2 else "user", "some words " * 100) for i in range(201)
    ]
    for source in sorted((material / "tokenizers" / "chat-templates").glob("*.jinja")):
        template = ChatTemplate(source.read_text(encoding="utf-8"), "<s>", "</s>")
        assert template.render(messages).count("some words") >= 100, source.name


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ {'é': [1, '<']} | tojson }}", '{"é": [1, "<"]}'),
        ("{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}", '{\n "a": 2,\n "b": 1\n}'),
        ("{% for m in messages %}{% if loop.last %}{% break %}{% endif %}x{% endfor %}", "xx"),
        ("{% for m in messages if m.role == 'user' %}{{ loop.length }}{% endfor %}", "22"),
        ("{% for a, b in [(1, 2), (3, 4)] %}{{ a ~ '-' ~ b }};{% endfor %}", "1-2;3-4;"),
        ("{% for m in nothing %}{% else %}none{% endfor %}", "none"),
        ("  {%- generation %}mine{% endgeneration %}", "mine"),
        ("{{ messages | map(attribute='role') | join(',') }}", "user,assistant,user"),
        ("{{ (messages | selectattr('role', 'equalto', 'user') | list)[-1].content }}", "Goodbye"),
        ("{{ 'a-b-c'.split('-')[1:] | string }}", "['b', 'c']"),
        ("{{ messages[::-1][0].content }}{{ 'abc'[1:] }}", "Goodbyebc"),
        ("{% set ns = namespace(x=1) %}{% set ns.x = ns.x + 2 * 3 %}{{ ns.x ** 2 }}", "49"),
        ("{{ '%s is %d' % ('it', 5) }}{{ '{:>3}'.format(1) }}", "it is 5  1"),
        ("{{ dict(a=1).a }}{{ tools is none }}{{ documents is none }}", "1TrueTrue"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) ~ m(2) }}", "<1><2>"),
        ("{% set x, y = 1, 2 %}{{ {'k': (x, y)}.k | last }}{{ eos_token }}", "2</s>"),
        ("{{ missing }}{{ messages[0].missing }}{{ none }}", "None"),
        ("{% set text %}a{% endset %}{{ text | length }}{{ 1 in [1, 2] }}", "1True"),
        ("{{ range(3) | list | tojson }}{{ ' x ' | trim }}{{ 'ab' | upper }}", "[0, 1, 2]xAB"),
    ],
)
def test_the_language(source: str, text: str) -> None:
    assert render(source) == text


def test_the_date() -> None:
    assert render("{{ strftime_now('%Y') }}") == str(datetime.now().year)


def test_templates_for_tools_have_something_to_list() -> None:
    assert render("{% for tool in tools %}x{% endfor %}[{{ functions }}]") == "[[]]"
    assert "is undefined" in refusal("{{ something.else }}")


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{% if %}", 2, "does not work"),
        ("a\nb\n{{ nothing.at.all }}", 3, "'nothing' is undefined"),
        ("\n{{ 1 / 0 }}", 2, "ZeroDivisionError"),
        ("\n\n{{ raise_exception('No system\nplease') }}", 3, "refuses.*: No system please"),
        ("{% include '/etc/passwd' %}", 1, "no loader"),
        ("{% for x in 5 %}{% endfor %}", 1, "not iterable"),
    ],
)
def test_faults_name_their_line(source: str, line: int, words: str) -> None:
    message = refusal(source)
    assert f"(line {line})" in message
    with pytest.raises(UnsupportedError, match=words):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ [''] | map(attribute='__class__') | list }}",
        "{{ '{0.__class__}'.format('') }}",
        "{{ '{0[__class__]}'.format('') }}",
        "{{ '%s'.format.__globals__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__code__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ lipsum.__globals__ }}",
        "{% import 'os' as os %}{{ os.system('true') }}",
    ],
)
def test_escapes_are_refused(source: str) -> None:
    refusal(source)


GROW = "{% set ns = namespace(a=START) %}{% for i in range(99) %}{% set ns.a = STEP %}{% endfor %}"


def grow(start: str, step: str) -> str:
    return GROW.replace("START", start).replace("STEP", step)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**10 }}",
        "{{ [1] * 10**10 }}",
        grow("2", "ns.a * ns.a"),
        "{{ 2 ** 99999 }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ 'x' | center(10**10) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10**10, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10**10) }}",
        "{{ (1).to_bytes(10**10, 'big') }}",
        "{{ 1.5 | round(10**8, 'ceil') }}",
        "{{ ('x' * 1000000) | replace('x', 'x' * 1000000) }}",
        "{{ ('x' * 1000000).replace('x', 'x' * 1000000) }}",
        "{{ ('x' * 1000000).join(range(10000) | map('string')) }}",
        "{{ (['x' * 1000000] * 1000) | join }}",
        "{{ 'x' | tojson(indent=10**9) }}",
        "{{ 'a\nb' | indent(10**9) }}",
        "{{ range(10**9) | list }}",
        "{% for i in range(99999) %}{{ 'x' * 1000000 }}{% endfor %}",
        "{% set x %}{% for i in range(99999) %}{{ 'x' * 1000000 }}{% endfor %}{% endset %}",
        grow("'xxxx'", "ns.a + ns.a"),
        grow("'xxxx'", "ns.a ~ ns.a"),
        grow("[1]", "[ns.a, ns.a]"),
        grow("(1,)", "(ns.a, ns.a)"),
        grow("[1]", "[ns.a] + [ns.a]"),
        grow("[1]", "[ns.a] * 100"),
        grow("{}", "dict(a=ns.a, b=ns.a)"),
        grow("{}", "{'a': ns.a, 'b': ns.a}"),
        grow("['x']", "([[]] * 1000) | map('default', ns.a, true) | list"),
        grow("['x']", "ns.a | batch(2, ns.a) | list"),
        grow("1", "[ns.a, 'x' * 1000000]"),
        grow("1", "[ns.a, ('x' * 16000000)[1:]]"),
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for i in range(3) recursive %}{{ loop(range(3)) }}{% endfor %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% for x in y %}" * 60 + "{% endfor %}" * 60,
        "x" * 5_000_000,
    ],
)
def test_too_much_is_refused(source: str) -> None:
    began = time.process_time()  # clocks tell of the machine's other work too
    refusal(source)
    assert time.process_time() - began < limits.MAX_SECONDS + 10  # a slow machine's allowance


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ loop.last }}{% endfor %}"
        "{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
        "{{ m(40) }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}"
        "{% if messages | length > 5 %}{% endif %}{% endfor %}{% endfor %}",
    ],
)
def test_endless_templates_are_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.2)
    assert "it takes more than 0.2 seconds" in refusal(source) or "characters" in refusal(source)


def test_one_template_renders_again_after_a_fault() -> None:
    template = ChatTemplate("{% if messages | length > 1 %}{{ 1 / 0 }}{% endif %}fine")
    with pytest.raises(UnsupportedError):
        template.render(CONVERSATION)
    assert template.render(CONVERSATION[:1]) == "fine"


def test_against_hugging_faces_own_rendering(material: Path) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    rendered = 0
    for source in sorted((material / "tokenizers" / "chat-templates").glob("*.jinja")):
        text = source.read_text(encoding="utf-8")
        variables = {
            "messages": [{"role": m.role, "content": m.content} for m in CONVERSATION],
            **{"tools": None, "documents": None, "add_generation_prompt": True},
            **{"bos_token": "<s>", "eos_token": "</s>"},
        }
        try:
            expected = utils._compile_jinja_template(text).render(**variables)
        except Exception:  # one that needs tools
            continue
        assert render(text) == expected, source.name
        rendered += 1
    assert rendered >= 50


def test_json_of_a_message() -> None:
    assert json.loads(render("{{ messages | tojson }}"))[1] == {
        "role": "assistant",
        "content": "你好",
    }
