"""`genfast serve`: an OpenAI-compatible server, and a page to try it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import Any

from genfast.cli.common import Usage, add_common, add_model, open_model, print_json, say
from genfast.errors import GenfastError

_EPILOG = """\
Endpoints: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /tokenize, /health,
/metrics (Prometheus), /openapi.json, and at / a page to talk to the model.

Ctrl-C or SIGTERM stops: no new requests; those that run get --grace seconds to finish, then end
with what there is. A second Ctrl-C ends them at once.

examples:
  genfast serve                                   the bundled model, http://127.0.0.1:8000
  genfast serve DIR --quantize int8 --port 9000
  GENFAST_API_KEY=secret genfast serve DIR --host 0.0.0.0
"""
_KEY = "GENFAST_API_KEY"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve a model to OpenAI clients and browsers",
        description="OpenAI's API over HTTP. Needs: pip install 'genfast[serve]'",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(parser)
    add_model(parser, positional=True)
    group = parser.add_argument_group("server")
    group.add_argument(
        "--host", default="127.0.0.1", help="interface (default: this machine alone)"
    )
    group.add_argument("--port", type=int, default=8000, help="0 takes a free one (default 8000)")
    group.add_argument("--name", help="what clients call the model (default: the directory's name)")
    group.add_argument("--api-key", metavar="KEY", help=f"ask clients for it (default: ${_KEY})")
    group.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="answer for this Host header; on this machine alone, only its own names are answered",
    )
    group.add_argument(
        "--allow-origin", action="append", metavar="URL", help="a web page that may call (CORS)"
    )
    group.add_argument("--access-log", action="store_true", help="a line a request on stderr")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--queue", type=int, default=256, metavar="N", help="requests that may wait (default 256)"
    )
    limits.add_argument(
        "--max-request-bytes", type=int, default=1 << 20, metavar="N", help="default 1048576"
    )
    limits.add_argument(
        "--deadline",
        type=float,
        default=600,
        metavar="S",
        help="most seconds a request may take; then it ends with what there is (default 600)",
    )
    limits.add_argument(
        "--grace", type=float, default=10, metavar="S", help="seconds to finish in (default 10)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        from genfast.serve.server import Server
        from genfast.serve.settings import Settings
    except ImportError as error:
        raise Usage(f"needs more packages ({error}): pip install 'genfast[serve]'") from None
    for name in ("max_request_bytes", "deadline", "grace"):
        if getattr(args, name) <= 0:
            raise Usage(f"--{name.replace('_', '-')} must be above 0")
    if not 0 <= args.port <= 65535:
        raise Usage("--port must be from 0 to 65535")
    settings = Settings(
        name=args.name or (Path(args.model).resolve().name if args.model else "genfast"),
        api_key=args.api_key or os.environ.get(_KEY) or None,
        hosts=_hosts(args),
        origins=tuple(args.allow_origin or ()),
        max_body_bytes=args.max_request_bytes,
        deadline_seconds=args.deadline,
        grace_seconds=args.grace,
    )

    def ready(url: str) -> None:
        if args.json:
            print_json({"url": url, "model": settings.name})
        else:
            say(f"genfast serve: {settings.name} at {url} (Ctrl-C stops)")

    with _listen(args) as listening, open_model(args, queue_limit=args.queue) as model:
        server = Server(
            model,
            settings,
            ready,
            access_log=args.access_log,
            log_level="info" if args.access_log else "warning",
        )
        # uvicorn hands a signal on when it has stopped: then it is no error any more.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listening])
    return 0


def _listen(args: argparse.Namespace) -> socket.socket:
    """Bound before the model is loaded: a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    try:
        return socket.create_server((args.host, args.port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise GenfastError(f"cannot listen on {args.host}, port {args.port}: {reason}") from None


def _hosts(args: argparse.Namespace) -> tuple[str, ...]:
    given = tuple(name.lower() for name in args.allow_host or ())
    if args.host in ("127.0.0.1", "localhost", "::1"):
        return (*_LOOPBACK, *given)
    return given
