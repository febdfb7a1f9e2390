#!/usr/bin/env python3
"""Trains the model that comes with genfast, from plain text to a Hugging Face directory, on a CPU.

    python tools/train_default.py --text ../shared/data/text --out DIR --minutes 60

Text    Project Gutenberg books (DIR/gutenberg/*.txt.gz, or DIR/*.txt[.gz]), unwrapped into
        paragraphs; verse, tables, headings and notes go (prose.py). The last 3 % of each file's
        paragraphs are held out, from the tokenizer too, and measure the loss.
Model   a Llama of 4.6 M parameters (torch_llama.py): small enough to bundle, shaped so that every
        dimension divides by 128.
Optim   Muon (muon.py) on the matrices, AdamW on the embedding and norms; a trapezoid learning rate;
        the exported weights are a moving average.

The schedule counts active seconds: time the process spends stopped (SIGSTOP) does not count. Run it
again with the same --work to resume. Needs torch, tokenizers, safetensors, numpy.
"""

import argparse
import functools
import json
import math
import os
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import prose
from muon import Muon
from torch_llama import Llama

BOS = "<|endoftext|>"  # begins every document and every prompt; id 0
SHAPE = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
}


def train_tokenizer(train):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        (p + "\n\n" for p in train if p),
        trainers.BpeTrainer(
            vocab_size=SHAPE["vocab_size"],
            special_tokens=[BOS],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tok.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tok.token_to_id(BOS))]
    )
    return tok


def encode(tok, paras):
    """(ids, starts): one stream of documents, and the positions where a sentence starts."""
    ids, starts, fresh = [], [], True
    ends = {tok.token_to_id(t) for t in (".", "!", "?", '."', '?"', '!"')}
    newline = tok.encode("\n\n", add_special_tokens=False).ids
    for p in paras:
        if p is prose.BREAK:
            fresh = True
            continue
        if ids:
            ids += [0] if fresh else newline
        fresh = False
        piece = tok.encode(p, add_special_tokens=False).ids
        starts += [len(ids)] + [
            len(ids) + i + 1 for i, t in enumerate(piece[:-1]) if t in ends and i > 8
        ]
        ids += piece
    return np.array(ids, np.int32), np.array(starts)


def rows(ids, starts, length, rng=None):
    """Yields rows of BOS + `length` tokens of the stream, each from the start of a paragraph or
    sentence on; with an `rng`, cut elsewhere and shuffled each time."""
    at = np.arange(rng.integers(length) if rng else 0, len(ids) - length, length)
    at = starts[np.maximum(0, np.searchsorted(starts, at, side="right") - 1)]
    at = at[at + length <= len(ids)]
    if rng:
        rng.shuffle(at)
    for s in at:
        yield np.concatenate([[0], ids[s : s + length]])


def batches(data, length, count, rng):
    """Batches of `count` rows without end, epoch after epoch."""
    stream = (row for _ in iter(int, 1) for row in rows(*data, length, rng))
    while True:
        yield torch.from_numpy(np.stack([next(stream) for _ in range(count)])).long()


def export(out, weights, tok):
    """Writes the directory that genfast and transformers open; the weights as bfloat16."""
    os.makedirs(out, exist_ok=True)
    with open(f"{out}/model.safetensors", "wb") as f:
        f.write(
            save(
                {f"model.{k}": v.to(torch.bfloat16).contiguous() for k, v in weights.items()},
                {"format": "pt"},
            )
        )
    tok.save(f"{out}/tokenizer.json", pretty=False)
    special = {"bos_token_id": 0, "eos_token_id": 0}
    files = {
        "config.json": dict(
            architectures=["LlamaForCausalLM"],
            model_type="llama",
            **SHAPE,
            hidden_act="silu",
            attention_bias=False,
            mlp_bias=False,
            attention_dropout=0.0,
            initializer_range=0.02,
            tie_word_embeddings=True,
            torch_dtype="bfloat16",
            use_cache=True,
            **special,
        ),
        "generation_config.json": dict(
            **special, do_sample=True, temperature=0.6, top_p=0.9, repetition_penalty=1.15
        ),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": BOS,
            "model_max_length": SHAPE["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, value in files.items():
        with open(f"{out}/{name}", "w") as f:
            f.write(json.dumps(value, indent=2) + "\n")


@torch.no_grad()
def evaluate(model, weights, data, length, batch=8):
    """Mean nats per token over held-out rows with the given weights, not the model's own."""
    own = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    model.eval()
    r = torch.from_numpy(np.stack(list(rows(*data, length)))).long()
    total = sum(model(b[:, :-1], b[:, 1:]).item() * len(b) for b in r.split(batch))
    model.train()
    model.load_state_dict(own)
    return total / len(r)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument(
        "--text", default="../shared/data/text", help="folder with the texts (default: %(default)s)"
    )
    ap.add_argument("--out", required=True, help="where the model directory goes")
    ap.add_argument(
        "--work",
        default="/tmp/genfast-train",
        help="checkpoint, outside the repository (default: %(default)s)",
    )
    ap.add_argument(
        "--minutes", type=float, default=60, help="active minutes to train (default: %(default)s)"
    )
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--batch", type=int, default=4096, help="tokens a step (default: %(default)s)")
    ap.add_argument(
        "--lr",
        type=float,
        default=0.012,
        help="Muon's; the embedding's is a third (default: %(default)s)",
    )
    ap.add_argument("--dropout", type=float, default=0.0)
    ap.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="processes of one thread (default: %(default)s)",
    )
    args = ap.parse_args()
    os.makedirs(args.work, exist_ok=True)
    store = f"{args.work}/rendezvous"
    if os.path.exists(store):
        os.remove(store)
    mp.spawn(work, (args, store), args.workers)


def work(rank, args, store):
    """One worker: its own rows, gradients averaged with the others'; the first also measures, logs
    and saves. One thread each, because two threads in lockstep crawl as soon as another program
    wants a core."""
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    say = functools.partial(print, flush=True) if rank == 0 else lambda *_: None
    train, held = prose.read(args.text)
    tok = train_tokenizer(train)
    data, test = encode(tok, train), encode(tok, held)
    bytes_per_token = len(tok.decode(test[0].tolist()).encode()) / len(test[0])
    say(
        f"{len(data[0]):,} training and {len(test[0]):,} held-out tokens, "
        f"{bytes_per_token:.2f} bytes each"
    )

    model = Llama(SHAPE, args.dropout)
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    opts = [
        Muon(matrices, lr=args.lr, weight_decay=0.1),
        torch.optim.AdamW(others, lr=args.lr / 3, betas=(0.9, 0.95), weight_decay=0.01),
    ]
    average = {k: v.clone() for k, v in model.state_dict().items()}
    state = {"step": 0, "tokens": 0, "active": 0.0}
    checkpoint = f"{args.work}/checkpoint.pt"
    if os.path.exists(checkpoint):
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        average, state = saved["average"], saved["state"]
        for opt, s in zip(opts, saved["opts"], strict=False):
            opt.load_state_dict(s)

    torch.manual_seed(1000 * state["step"] + rank)  # dropout differs between workers
    budget, durations, losses, shown, feed = args.minutes * 60, [], [], state["active"], None
    while state["active"] < budget:
        begun, progress = time.monotonic(), state["active"] / budget
        length = 256 if progress < 0.9 else 1024  # the last tenth learns the long positions
        if feed is None or length != feed[0]:
            rng = np.random.default_rng((args.seed, state["step"], rank))
            feed = length, batches(data, length, args.batch // length // args.workers, rng)
        r = next(feed[1])
        scale = min(1, state["step"] / 100 + 0.01) * min(1, max(0.02, (1 - progress) / 0.6))
        for opt, lr in zip(opts, (args.lr, args.lr / 3), strict=False):
            for group in opt.param_groups:
                group["lr"] = lr * scale
        loss = model(r[:, :-1], r[:, 1:])
        loss.backward()
        flat = torch.cat([p.grad.flatten() for p in model.parameters()] + [loss.detach().view(1)])
        dist.all_reduce(flat)
        flat /= args.workers
        for p, g in zip(
            model.parameters(),
            flat.split([p.numel() for p in model.parameters()] + [1]),
            strict=False,
        ):
            p.grad = g.view_as(p)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
        model.zero_grad(set_to_none=True)
        keep = min(0.995, 1 - 1 / (state["step"] + 1))
        for k, v in model.state_dict().items():
            average[k].lerp_(v, 1 - keep)
        losses.append(flat[-1].item())
        durations = ([*durations, time.monotonic() - begun])[-50:]
        spent = torch.tensor(
            min(durations[-1], 3 * sorted(durations)[len(durations) // 2])
        )  # a stop is no work
        dist.broadcast(spent, 0)
        state["active"] += spent.item()
        state["step"] += 1
        state["tokens"] += r.shape[0] * length * args.workers
        if rank == 0 and (state["active"] - shown > 240 or state["active"] >= budget):
            rate = len(losses) * r.shape[0] * length * args.workers / (state["active"] - shown)
            heldout = evaluate(model, average, test, 256)
            say(
                f"{state['active'] / 60:6.1f} min  step {state['step']}"
                f"  {state['tokens'] / 1e6:.2f} M tokens  {rate:.0f} tokens/s"
                f"  train {np.mean(losses):.3f}  held-out {heldout:.3f} nats/token"
                f"  {heldout / bytes_per_token / math.log(2):.3f} bits/byte"
            )
            shown, losses = state["active"], []
            torch.save(
                {
                    "model": model.state_dict(),
                    "average": average,
                    "state": state,
                    "opts": [o.state_dict() for o in opts],
                },
                checkpoint + ".new",
            )
            os.replace(checkpoint + ".new", checkpoint)
            export(args.out, average, tok)
    if rank == 0:
        nats = evaluate(model, average, test, 1024)
        say(
            f"held-out, rows of 1024: {nats:.4f} nats/token, perplexity {math.exp(nats):.2f}, "
            f"{nats / bytes_per_token / math.log(2):.4f} bits/byte"
        )
    dist.barrier()


if __name__ == "__main__":
    main()
