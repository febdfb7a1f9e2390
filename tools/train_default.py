#!/usr/bin/env python3
"""Trains the model that comes with genfast, from plain text to a Hugging Face directory, on a CPU.

    python tools/train_default.py --text ../shared/data/text --out python/genfast/data/default --minutes 60

Text    Project Gutenberg books (DIR/gutenberg/*.txt.gz, or DIR/*.txt[.gz]), unwrapped into paragraphs; verse,
        tables, headings and notes go. The last 3 % of each file's paragraphs are held out, from the
        tokenizer too, and measure the loss.
Model   a Llama of 4.6 M parameters: small enough to bundle, shaped so that every dimension divides by 128.
Optim   Muon (orthogonalised momentum) on the matrices, AdamW on the embedding and norms; a trapezoid
        learning rate; the exported weights are a moving average.

The schedule counts active seconds: time the process spends stopped (SIGSTOP) does not count. Run it again
with the same --work to resume. Needs torch, tokenizers, safetensors, numpy.
"""

import argparse
import functools
import glob
import gzip
import json
import math
import os
import re
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

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


# ---- text ------------------------------------------------------------------------------------------------

UNWANTED = re.compile(
    r"\bnigg|\bdarky|\bdarkies|\bpickaninn|\bcoon\b|gutenberg|transcriber|https?:|www\.", re.I
)
QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})
BREAK = None  # a heading stood here: the next paragraph begins a document


def paragraphs(text):
    """The prose paragraphs of a hard-wrapped text, each on one line, with BREAK where a heading stood."""
    start, end = re.search(r"\*\*\* ?START OF.*\n", text), re.search(r"\*\*\* ?END OF", text)
    text = (
        text[start.end() if start else 0 : end.start() if end else None]
        .replace("\r\n", "\n")
        .translate(QUOTES)
    )
    index = False
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.split("\n") if line.strip()]
        body = " ".join(" ".join(lines).split())
        if (3 < len(body) < 80 and body.isupper()) or re.match(
            r"(chapter|section|part|book|volume)\b.{,60}$", body, re.I
        ):
            index = body.startswith("INDEX")
            yield BREAK
            continue
        body = re.sub(
            r"\s?\[\w{1,4}\]|\s?\{\d+\}|\s?\(\d+\. [^()]*\)|^\d+\. (?=~)|[_~]", "", body
        )  # notes, italics
        if not body or index:
            continue
        words = body.split()
        indented = sum(line.startswith(" ") for line in lines) > len(lines) / 2
        verse = len(lines) > 3 and sum(map(len, lines[:-1])) / (len(lines) - 1) < 50
        play = re.match(r"[A-Z][A-Z ]{2,}|\(", body) or (
            re.search(r"\b(de|dat|dis|yo'|gointer)(?= )", body) and body[0] != '"'
        )
        odd = sum(not (c.isalpha() or c in " .,;:!?'\"-()") for c in body) / len(body)
        capitals = sum(w[0].isupper() for w in words) / len(words)
        if not (
            indented
            or verse
            or play
            or odd > 0.02
            or (capitals > 0.4 and len(words) > 6)
            or body[0] in "[*-"
            or body[-1] not in ".!?\"'-:;,"
            or UNWANTED.search(body)
        ):
            yield body


def read(folder):
    """(training, held-out) lists of paragraphs and BREAKs over the files of a folder, in the order of their names."""
    train, held = [], []
    files = sorted(glob.glob(f"{folder}/gutenberg/*.txt.gz") or glob.glob(f"{folder}/*.txt*"))
    for file in files:
        with (gzip.open if file.endswith(".gz") else open)(file, "rt", encoding="utf-8") as f:
            found = list(paragraphs(f.read()))
        cut = int(len(found) * 0.97)
        train += [BREAK, *found[:cut]]
        held += [BREAK, *found[cut:]]
    return train, held


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
        if p is BREAK:
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
    """Cuts the stream into rows of BOS + `length` tokens, each beginning at a paragraph or sentence; a new cut each epoch."""
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


# ---- model: names and arithmetic are those of Hugging Face's LlamaForCausalLM ---------------------------------


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        E, D, H, Hkv = (
            c["hidden_size"],
            c["head_dim"],
            c["num_attention_heads"],
            c["num_key_value_heads"],
        )
        self.D = D
        self.q_proj, self.o_proj = nn.Linear(E, H * D, bias=False), nn.Linear(H * D, E, bias=False)
        self.k_proj, self.v_proj = (
            nn.Linear(E, Hkv * D, bias=False),
            nn.Linear(E, Hkv * D, bias=False),
        )

    def forward(self, x, cos, sin):
        B, T, _ = x.shape
        q, k, v = (
            p(x).view(B, T, -1, self.D).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        E, FF = c["hidden_size"], c["intermediate_size"]
        self.gate_proj, self.up_proj = nn.Linear(E, FF, bias=False), nn.Linear(E, FF, bias=False)
        self.down_proj = nn.Linear(FF, E, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.self_attn, self.mlp, self.drop = Attention(c), MLP(c), nn.Dropout(dropout)
        self.input_layernorm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.post_attention_layernorm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])

    def forward(self, x, cos, sin):
        x = x + self.drop(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.drop(self.mlp(self.post_attention_layernorm(x)))


class Llama(nn.Module):
    def __init__(self, c, dropout=0.0):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, dropout) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        for name, p in self.named_parameters():
            if p.ndim == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(
                    p, std=0.02 / math.sqrt(2 * c["num_hidden_layers"]) if residual else 0.02
                )
        half = c["head_dim"] // 2
        angle = torch.outer(
            torch.arange(c["max_position_embeddings"]).float(),
            c["rope_theta"] ** (-torch.arange(half).float() / half),
        )
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids, targets):
        x, T = self.embed_tokens(ids), ids.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:T], self.sin[:T])
        return F.cross_entropy(
            F.linear(self.norm(x), self.embed_tokens.weight).flatten(0, 1), targets.flatten()
        )


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by five Newton-Schulz steps; equal shapes go through them together."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        groups = {}
        for p in params:
            groups.setdefault(p.shape, []).append(p)
        super().__init__(
            [{"params": g} for g in groups.values()],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            ps = group["params"]
            for p in ps:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
            x = torch.stack([p.grad.lerp(self.state[p]["momentum"], group["momentum"]) for p in ps])
            tall = x.shape[1] > x.shape[2]
            x = x.mT if tall else x
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            rank, workers = dist.get_rank(), dist.get_world_size()
            mine, x = x[rank::workers], torch.zeros_like(x)  # each worker orthogonalises its share
            for _ in range(5):
                a = mine @ mine.mT
                mine = 3.4445 * mine + (-4.7750 * a + 2.0315 * a @ a) @ mine
            x[rank::workers] = mine
            dist.all_reduce(x)
            x = (x.mT if tall else x) * max(1, ps[0].shape[0] / ps[0].shape[1]) ** 0.5
            for p, update in zip(ps, x, strict=False):
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])


# ---- training ------------------------------------------------------------------------------------------------


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
    """Mean nats per token over held-out rows, with the given weights; the model's own are put back."""
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
    """One worker: its own rows, gradients averaged with the others'; the first also measures, logs and saves.
    One thread each, because two threads in lockstep crawl as soon as another program wants a core."""
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    say = functools.partial(print, flush=True) if rank == 0 else lambda *_: None
    train, held = read(args.text)
    tok = train_tokenizer(train)
    data, test = encode(tok, train), encode(tok, held)
    bytes_per_token = len(tok.decode(test[0].tolist()).encode()) / len(test[0])
    say(
        f"{len(data[0]):,} training and {len(test[0]):,} held-out tokens, {bytes_per_token:.2f} bytes each"
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
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
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
                f"{state['active'] / 60:6.1f} min  step {state['step']}  {state['tokens'] / 1e6:.2f} M tokens  {rate:.0f} tokens/s"
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
