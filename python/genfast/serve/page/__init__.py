"""The page at `/`: one HTML file, put together once, that loads nothing from anywhere."""

from __future__ import annotations

from importlib.resources import files


def page(kind: str) -> bytes:
    """For a model that makes "texts" or "images"."""
    parts = files(__name__)

    def read(name: str) -> str:
        return "\n" + parts.joinpath(name).read_text("utf-8")

    html = read("index.html").lstrip().replace("{{kind}}", kind)
    html = html.replace("{{style}}", read("style.css"))
    return html.replace("{{script}}", read("common.js") + read(f"{kind}.js")).encode()
