"""An OpenAI-compatible server over a loaded model: `genfast serve`, or `create_app` under any ASGI
server. Needs the `serve` extra."""

from genfast.serve.app import create_app
from genfast.serve.settings import Settings

__all__ = ["Settings", "create_app"]
