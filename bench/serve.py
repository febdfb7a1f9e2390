"""Many streaming clients of one `genfast serve`, over loopback: what each of them waits for.

    python bench/serve.py [--clients 64] [--tokens 128] [--model DIR]

The server is a process of its own, and the clients are another, so that neither slows the other but
by the processors they share. Before anything is told, every text is compared with what the same
request gives alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

STARTS = ("Once upon a time", "The sea", "My dear Jane,", "Of the origin of")


@dataclass
class Stream:
    """text; when the request began, and when each event with new text came."""

    start: float
    text: str = ""
    times: list[float] = field(default_factory=list)


def body_of(index: int, tokens: int) -> dict:
    prompt = STARTS[index % 4] + " and so" * (index // 4)
    return {"prompt": prompt, "max_tokens": tokens, "seed": index, "ignore_eos": True}


async def ask(url: str, body: dict) -> Stream:
    """A bare HTTP client: a library's own work would be in the times."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    data = json.dumps({**body, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    made = Stream(time.perf_counter())
    writer.write(head.encode() + data)
    done = False
    async for line in reader:
        if not line.startswith(b"data: "):
            continue
        now = time.perf_counter()
        if line.startswith(b"data: [DONE]"):
            done = True
            continue
        made.text += json.loads(line[6:])["choices"][0]["text"]
        made.times.append(now)
    writer.close()
    assert done, "a stream was lost"
    return made


async def all_at_once(url: str, bodies: list[dict]) -> list[Stream]:
    return await asyncio.gather(*(ask(url, body) for body in bodies))


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(url: str, clients: int, tokens: int) -> dict[str, float]:
    bodies = [body_of(index, tokens) for index in range(clients)]
    alone = [asyncio.run(ask(url, body)).text for body in bodies]
    begin = time.perf_counter()
    streams = asyncio.run(all_at_once(url, bodies))
    seconds = time.perf_counter() - begin
    assert [stream.text for stream in streams] == alone, "a text depends on what else runs"
    gaps = [b - a for s in streams for a, b in zip(s.times, s.times[1:], strict=False)]
    firsts = [stream.times[0] - stream.start for stream in streams]
    p50, p99 = statistics.median(gaps), quantile(gaps, 0.99)
    return {
        "clients": clients,
        "tokens_per_second": clients * tokens / seconds,
        "tokens_per_event": clients * tokens / sum(len(stream.times) for stream in streams),
        "first_p50_ms": 1e3 * statistics.median(firsts),
        "first_p99_ms": 1e3 * quantile(firsts, 0.99),
        "gap_p50_ms": 1e3 * p50,
        "gap_p99_ms": 1e3 * p99,
        "gap_p99_over_p50": p99 / p50,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="a directory; default: the bundled model")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    command = [sys.executable, "-m", "genfast", "serve", "--port", "0", "--json"]
    command += [args.model] if args.model else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"]
        for _ in range(args.runs):
            made = measure(url, args.clients, args.tokens)
            print(json.dumps({name: round(value, 2) for name, value in made.items()}), flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
