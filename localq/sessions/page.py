"""A session as one HTML page: nothing is loaded, and nothing in it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape

from localq.sessions.attachments import with_attachments
from localq.sessions.message import SessionMessage, left_out_after
from localq.sessions.picture_attachments import data_url
from localq.sessions.session import Session

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } header p, .notes { color: #777; font-size: .85rem }
article { border-top: 1px solid #8884; padding: .4rem 0 1rem }
article > h2 { font-size: .85rem; text-transform: uppercase; letter-spacing: .05em; color: #777 }
.user { background: #8881; padding: .1rem 1rem .6rem; border-radius: .5rem; border: 0 }
pre { overflow-x: auto; background: #8882; padding: .7rem; border-radius: .4rem }
code { font-family: ui-monospace, monospace; font-size: .9em }
details { color: #777 } table { border-collapse: collapse } td, th { border: 1px solid #8884;
padding: .2rem .6rem } .left-out { text-align: center; color: #777; font-style: italic }
"""
_PAGE = """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{about}</p></header>
{articles}
</body>
</html>
"""


def page(
    session: Session,
    path: Sequence[SessionMessage],
    facts: Callable[[SessionMessage], tuple[str, str]],
) -> str:
    """The branch `path`; `facts` says who wrote a message, and what else is to be said of it.
    Markdown becomes HTML, HTML in messages is shown as the text it is, pictures are not
    fetched."""
    articles = []
    if session.preset.system:
        articles.append(_article("system", "System", "", _markdown(session.preset.system)))
    left_out = left_out_after(path)
    for message in path:
        who, notes = facts(message)
        body = ""
        if message.reasoning:
            thought = escape(message.reasoning.strip()).replace("\n", "<br>\n")
            body += f"<details><summary>Reasoning</summary>{thought}</details>\n"
        body += "".join(
            f'<p><img src="{escape(data_url(one))}" alt="{escape(one.name)}"></p>\n'
            for one in message.attachments
            if one.media
        )
        texts = [one for one in message.attachments if not one.media]
        body += _markdown(with_attachments(message.content, texts))
        for call in message.tool_calls:
            body += f"<pre><code>{escape(call.name)} {escape(call.arguments)}</code></pre>\n"
        articles.append(_article(message.role, who, notes, body))
        if message.id == left_out:
            gone = "What stands above was no longer in the context."
            articles.append(f'<p class="left-out">{gone}</p>')
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.created_at))
    return _PAGE.format(
        title=escape(session.title or "Untitled"),
        about=escape(f"{session.model} · {date}".strip(" ·")),
        style=_STYLE,
        articles="\n".join(articles),
    )


def _article(role: str, who: str, notes: str, body: str) -> str:
    small = f' <span class="notes">{escape(notes)}</span>' if notes else ""
    return f'<article class="{role}"><h2>{escape(who)}{small}</h2>\n{body}</article>'


def _markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return str(renderer.render(text))
