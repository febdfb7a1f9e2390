"""What the operator of a server decides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits keep one client from taking what all share.

    name: what clients call the model.
    api_key: required as a bearer token of all but `/` and `/health`; None: nobody is asked.
    hosts: values of the Host header that are answered; () for any. Of a server on the loopback
        interface this keeps web pages of others from reaching it by a name of their own.
    origins: web pages that may call from a browser (CORS).
    max_body_bytes: of a request. body_seconds: how long one may take to arrive.
    max_choices: prompts times n of one request.
    deadline_seconds: most a request may take; then it ends with what there is.
    send_seconds: how long a client may leave what it was sent unread, then it counts as gone.
    grace_seconds: how long a stopping server lets requests run before they end with what there is.
    """

    name: str = "genfast"
    api_key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    max_choices: int = 128
    deadline_seconds: float = 600.0
    send_seconds: float = 30.0
    grace_seconds: float = 10.0
