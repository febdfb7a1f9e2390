"""Classifier-free guidance, seen from Python: what goes together, and the negative prompt's ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genfast.prompts import PromptReader
    from genfast.sampling import Sampling


def check_together(sampling: Sampling) -> None:
    """ValueError for settings that contradict guidance_scale or need it, naming both."""
    scale = sampling.guidance_scale
    if scale == 1:
        if sampling.negative_prompt is not None:
            raise ValueError(
                f"negative_prompt={sampling.negative_prompt!r:.60} needs a guidance_scale other "
                "than 1, which asks for nothing"
            )
        return
    if sampling.num_beams > 1:
        raise ValueError(
            f"guidance_scale={scale} and num_beams={sampling.num_beams}: a beam search goes "
            "without guidance"
        )
    if sampling.speculate is True:
        raise ValueError(
            f"guidance_scale={scale} and speculate=True: what two prompts agree on is not guessed"
        )


def native(sampling: Sampling, prompts: PromptReader, ids: list[int]) -> dict[str, Any]:
    """The settings as the engine takes them; the negative prompt is the last token of the prompt
    unless one is given, as in Hugging Face."""
    if sampling.guidance_scale == 1:
        return {}
    negative = sampling.negative_prompt
    return {
        "guidance_scale": sampling.guidance_scale,
        "negative_prompt": ids[-1:]
        if negative is None
        else prompts.one(negative, "negative_prompt"),
    }
