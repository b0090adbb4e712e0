"""`playground`: a web page on this machine to talk to a model.

The page is the files in `page/`, served as they are. It asks for each answer on a websocket of its own:

    page:    {"model": …, "messages": […], "temperature": …}     the parameters of the request, as text
    server:  {"type": "asked", "python": …}                      the same request as a program
             {"type": "failed" | "retried" | "waited", …}        while no answer comes: see `notices`
             the events of the answer, as `relay` sends them
             {"type": "summary", "trace_id": …, "tokens": …}     how it ended, always the last one
    page:    "stop", or anything, or it just leaves              upstream is aborted at once

The text of an answer is Markdown. The page has it rendered piece by piece, as it grows, by `POST /api/markdown`: what
comes back are trees, not HTML (see `markdown`). Chats are kept by the browser alone.
"""

from .command import playground
from .server import Playground

__all__ = ["Playground", "playground"]
