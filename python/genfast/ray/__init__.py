"""On several machines, by Ray: batches (`answers`) and a service (`serve_application`). Needs the
`ray` extra."""

from genfast.ray.batch import answers

__all__ = ["answers", "serve_application"]


def __getattr__(name: str):
    if name == "serve_application":  # Ray Serve is large, and a batch does not need it
        from genfast.ray.service import serve_application

        return serve_application
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
