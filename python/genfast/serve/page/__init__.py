"""The page at `/`: one HTML file, put together once, that loads nothing from anywhere."""

from __future__ import annotations

from importlib.resources import files


def page() -> bytes:
    parts = files(__name__)
    html = parts.joinpath("index.html").read_text("utf-8")
    for name, file in (("style", "style.css"), ("script", "script.js")):
        html = html.replace("{{" + name + "}}", "\n" + parts.joinpath(file).read_text("utf-8"))
    return html.encode()
