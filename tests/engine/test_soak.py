"""An hour's worth of small requests, in what a CI run can spare: memory stays flat."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import genfast
from idle import wait_until_idle
from memory import needs_proc, resident_bytes

THREADS, ROUNDS, REQUESTS = 6, 6, 400


@pytest.mark.slow
@needs_proc
def test_memory_is_flat_while_requests_come_and_go(tiny_dir, rng):
    heads = rng.integers(0, 97, (4, 200)).tolist()
    seeds = rng.integers(1 << 30, size=(ROUNDS, THREADS))
    wrong = []

    def work(model, seed):
        draw = np.random.default_rng(seed)
        for index in range(REQUESTS):
            prompt = heads[draw.integers(4)][: draw.integers(1, 200)]
            prompt = prompt + draw.integers(0, 97, draw.integers(1, 60)).tolist()
            options = {"max_tokens": int(draw.integers(1, 60)), "temperature": 1.0, "seed": index}
            fate = draw.random()
            try:
                if fate < 0.1:
                    stream = model.stream(prompt, **options)
                    next(stream)
                    stream.close()
                elif fate < 0.2:
                    model.generate(prompt, deadline_ms=3, **options)
                elif fate < 0.25:
                    model.generate([*prompt, 97])
                elif fate < 0.3:
                    model.logits(prompt)
                elif fate < 0.4:
                    model.generate(prompt, n=3, logprobs=2, **options)
                else:
                    out = model.generate(prompt, **options)
                    if (
                        index % 10 == 0
                        and out.token_ids != model.generate(prompt, **options).token_ids
                    ):
                        wrong.append(prompt)
            except (ValueError, genfast.DeadlineError):
                pass

    with genfast.load(tiny_dir) as model:
        budget = 200 * model.kv_page_bytes
    with genfast.load(tiny_dir, kv_cache_bytes=budget) as model:
        held = []
        for row in seeds:
            threads = [threading.Thread(target=work, args=(model, seed)) for seed in row]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wait_until_idle(model)
            held.append(resident_bytes())
        assert wrong == []
        assert model.stats()["kv_pages_free"] == model.stats()["kv_pages"]
    # The first rounds touch what is kept for good: pages, thread stacks, the allocator's arenas. A
    # leak of a hundred bytes a token would be some 15 MB in the last two.
    assert held[-1] - held[-3] < 4e6, held
