"""`genfast image`: make images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genfast.cli.common import Usage, add_common, print_json, say
from genfast.formats import QUANTISED

_EPILOG = """\
PROMPT is a text, or for a model of classes a class's number. Of several images, the second is
written to out-2.png, and so on. The same seed gives the same image.

examples:
  genfast image --demo -o digits.png              what the bundled gallery makes
  genfast image DIR "a red fox" -o fox.png
  genfast image DIR "a red fox" --negative blurry --steps 20 --seed 1 -n 4 -o fox.png
  genfast image DIR "in snow" --image fox.png --strength 0.6 -o snow.png
  genfast image GAN 207 --seed 1 --to-seed 2 -n 12 --truncation 0.4 -o way.png
  genfast image DIR "a hat" --image fox.png --mask head.png -o hat.png
"""

# (flag, name of the keyword, type, help)
_OPTIONS: tuple[tuple[str, str, Any, str], ...] = (
    ("--negative", "negative_prompt", str, "what to keep away from"),
    ("--steps", "steps", int, "steps of the scheduler"),
    ("--guidance", "guidance_scale", float, "how closely to follow the prompt"),
    ("--scheduler", "scheduler", str, "another than the model's: ddim, euler, dpm++_karras …"),
    ("--height", "height", int, "in pixels"),
    ("--width", "width", int, "in pixels"),
    ("--seed", "seed", int, "the same seed gives the same image"),
    (
        "--strength",
        "strength",
        float,
        "of a change to --image, 0 to 1 (default 0.8; 1 for a model that fills in)",
    ),
    ("--truncation", "truncation", float, "of a GAN's latents: less is safer and duller"),
    ("--temperature", "temperature", float, "of the codes that a model draws (default 1)"),
    ("--top-k", "top_k", int, "draw codes among the K likeliest"),
    ("--top-p", "top_p", float, "draw codes among the likeliest that have this probability"),
)


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "image",
        help="make images",
        description="Makes images with a diffusion model, a model of image tokens or a GAN.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", metavar="DIR", help="directory of an image model")
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what to make")
    parser.add_argument("-o", "--output", metavar="FILE", default="image.png", help="(image.png)")
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many (default 1)")
    parser.add_argument(
        "--to-seed", type=int, metavar="B", help="of a GAN: -n images from --seed's to that of B"
    )
    parser.add_argument("--demo", action="store_true", help="a sheet of the bundled gallery")
    parser.add_argument("--image", metavar="FILE", help="an image to change")
    parser.add_argument("--mask", metavar="FILE", help="white where --image is to change")
    for flag, name, kind, text in _OPTIONS:
        parser.add_argument(flag, dest=name, type=kind, metavar=flag[2:3].upper(), help=text)
    group = parser.add_argument_group("model")
    group.add_argument("--quantize", choices=QUANTISED, help="pack the weights in less")
    group.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    group.add_argument("--winograd", action="store_true", help="faster convolutions, more memory")
    group.add_argument(
        "--adapter",
        metavar="FILE[:S]",
        action="append",
        dest="adapters",
        default=[],
        help="merge a LoRA into the weights, with strength S (may be repeated)",
    )
    group.add_argument("--threads", type=int, metavar="N", help="default: all there may be")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.demo == (args.model is not None):
        raise Usage("give DIR, or --demo for the bundled gallery")
    return _demo(args) if args.demo else _generate(args)


def _demo(args: argparse.Namespace) -> int:
    from genfast.images import gallery
    from genfast.images.result import pillow

    if args.prompt is not None:
        raise Usage("--demo takes no PROMPT")
    pil = pillow()  # before any work
    seed = 0 if args.seed is None else args.seed
    pil.fromarray(gallery.sheet(seed, threads=args.threads or 0)).save(args.output)
    if args.json:
        print_json({"files": [args.output], "seed": seed})
    else:
        say(f"{args.output}: digits, a column each, by DDPM, ImageGPT, a GAN (two rows each) and")
        say("a VQ-VAE (which makes known ones again)")
    return 0


def _way(model: Any, args: argparse.Namespace, options: dict[str, Any]) -> Any:
    """From one seed's image to another's."""
    if not hasattr(model, "interpolate"):
        raise Usage("--to-seed needs a GAN: no other model knows a way between two images")
    seed = options.pop("seed", None)
    if seed is None or args.n < 2:
        raise Usage("--to-seed needs --seed, and -n of at least 2")
    return model.interpolate(seed, args.to_seed, args.n, args.prompt, **options)


def _adapter(text: str) -> str | tuple[str, float]:
    """FILE, or FILE:S."""
    path, _, strength = text.rpartition(":")
    try:
        return (path, float(strength)) if path else text
    except ValueError:
        return text


def _generate(args: argparse.Namespace) -> int:
    import genfast
    from genfast.images.result import pillow

    pil = pillow()
    options = {name: getattr(args, name) for _, name, _, _ in _OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    for name in ("image", "mask"):
        if getattr(args, name) is not None:
            options[name] = pil.open(getattr(args, name))
    with genfast.load(
        args.model,
        quantize=args.quantize,
        dtype=args.dtype,
        threads=args.threads,
        adapters=[_adapter(text) for text in args.adapters],
        winograd=args.winograd,
    ) as model:
        if isinstance(model, genfast.Model):
            raise Usage(f"{args.model} is a model of text; see genfast generate")
        if args.to_seed is None:
            made = model.generate(args.prompt, n=args.n, **options)
        else:
            made = _way(model, args, options)
    files = []
    for i, image in enumerate(made.images):
        file = Path(args.output)
        if i:
            file = file.with_stem(f"{file.stem}-{i + 1}")
        image.save(file)
        files.append(str(file))
    if args.json:
        print_json({"files": files, "seed": made.seed, "seconds": made.seconds})
    else:
        say(f"{', '.join(files)}: {made.seconds:.1f} s, {made.steps} steps, seed {made.seed}")
    return 0
