"""Each user's session lives in exactly one of four web workers, and all of them reach it.

$ .venv/bin/uvicorn examples.sessions:app --workers 4
$ curl -d hello localhost:8000/ann
"""

import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import covey


async def session(ctx, user):
    lines = ctx.handed_over or []
    token = ctx.fencing_token
    async for call in ctx.mailbox:
        lines.append(call.payload)
        call.reply({"user": user, "lines": len(lines), "worker": os.getpid(), "token": token})
    return covey.Handover(lines)


async def say(request):
    user, line = request.path_params["user"], (await request.body()).decode(errors="replace")
    return JSONResponse(await request.state.sessions.call(user, line, start=session))


async def unavailable(request, error):
    return JSONResponse({"error": str(error)}, 503)


app = Starlette(
    routes=[Route("/{user}", say, methods=["POST"])],
    exception_handlers={covey.UnavailableError: unavailable},
    lifespan=covey.lifespan("chat", seeds=["local:chat"], hubs={"sessions": dict(children=[session], on_split="both")}),
)
