"""`Model`, which `genfast.load` gives: what programs use."""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genfast import _core, conformance, guidance, kv_file, models
from genfast.async_stream import AsyncStream
from genfast.chat_tools import ChatTools
from genfast.chat_turn import Chats
from genfast.checkpoint import Checkpoint
from genfast.confidence import Calibrated
from genfast.config import Fields, read_config, read_object
from genfast.drafts import Drafts, refuse_guesses
from genfast.fingerprint import Fingerprint
from genfast.generation import Run, finish_all, gather, start, stream_all
from genfast.gpu_layers import GpuLayers
from genfast.grammar import grammar_of
from genfast.guided import Grammars
from genfast.infill import Infills
from genfast.inspected import Inspected
from genfast.kv_file import PAGE_TOKENS
from genfast.kv_memory import budget_bytes, kv_pages, state_slots
from genfast.prompts import Prompt, PromptReader
from genfast.ranks import Ranks
from genfast.receipt import Receipt, receipt_of
from genfast.recorded import Formats, Recorded, record
from genfast.results import Chunk, Generation
from genfast.sampling import Sampling
from genfast.shard import Shard
from genfast.tokenizer import load_tokenizer

log = logging.getLogger("genfast")

_STEP_TOKENS = 512  # tokens a step computes at most: bounds how long a step takes
_SEQUENCES = 64  # requests that run at once; more wait
_open_models: weakref.WeakSet[Model] = weakref.WeakSet()


class Model(Calibrated, Chats, Infills, Inspected):
    """A loaded language model; made by `genfast.load`.

    Methods may be called from any number of threads: requests join one running batch, and a
    request's tokens are the same bits whatever else runs. The GIL is released while it computes.

    config: the parsed config.json. tokenizer: None when the directory has none (ids only).
    """

    def __init__(
        self,
        path: Path,
        *,
        quantize: str | None,
        dtype: str,
        kv_dtype: str,
        window: int | None,
        sinks: int,
        device: str,
        threads: int,
        kv_cache_bytes: int | None,
        prefix_cache: bool,
        queue_limit: int | None,
        progress: bool,
        cache_dir: Path | None,
        adapters: Sequence[Path] = (),
        gpu_layers: int | None = None,
        tensor_parallel: int = 1,
    ) -> None:
        self.path = path
        self._asked_isa = "cuda" if device == "cuda" else ""
        gpu = _core.cuda_info() if device == "cuda" else None  # what is missing is told now
        self.config: dict[str, Any] = read_config(path)
        fields = Fields(self.config, path / "config.json")
        module = models.find(self.config["model_type"])
        self._hparams = module.Config.from_json(fields)
        self.vocab_size: int = self._hparams.vocab_size
        self.context_length: int = self._hparams.context
        self.tokenizer = load_tokenizer(path, self.config)
        self._prompts = PromptReader(
            self.tokenizer, self.vocab_size, self.context_length, str(path)
        )
        self._grammars = Grammars(self.tokenizer, self.vocab_size)
        generation = path / "generation_config.json"
        self.generation_config = read_object(generation) if generation.is_file() else {}
        if suppressed := getattr(self._hparams, "suppressed", ()):
            default = {"suppress_tokens": list(suppressed)}
            self.generation_config = default | self.generation_config
        conformance.warn(path, self.config, self.generation_config, self.tokenizer, self.vocab_size)
        self._sampling_defaults()  # a bad generation_config.json is found now, not at first use
        self._drafts = Drafts(self.vocab_size, self.tokenizer)
        formats = Formats(quantize, dtype, kv_dtype, window, sinks)
        self._threads = threads
        self._ranks: Ranks | None = None
        self._checkpoint = Checkpoint(path)
        try:
            shard = None
            if tensor_parallel > 1:
                shard = Shard(0, tensor_parallel)
                shard.check(module, self._hparams)
                self._start_ranks(tensor_parallel, formats, cache_dir, gpu)
            recorded = record(
                self._checkpoint,
                module,
                self._hparams,
                formats,
                threads=self._threads,
                progress=progress,
                cache_dir=cache_dir,
                adapters=adapters,
                shard=shard,
            )
            self._place(recorded, gpu, gpu_layers, kv_cache_bytes)
            self._start(kv_cache_bytes, prefix_cache, queue_limit)
        except BaseException:
            self.close()
            raise
        self.settings = vars(formats) | {"kv_dtype": self.kv_dtype}
        if tensor_parallel > 1:
            self.settings["tensor_parallel"] = tensor_parallel
        if adapters:
            self.settings["adapters"] = [str(path) for path in adapters]
        self.fingerprint = Fingerprint(path, self.tokenizer, adapters)
        _open_models.add(self)

    def _start_ranks(self, size: int, formats: Formats, cache_dir: Path | None, gpu) -> None:
        """The other ranks load while this one does; all together have the CPUs of one."""
        self._threads = self._threads or max(1, _core.cpu_info()["threads"] // size)
        told = {
            "path": str(self.path),
            "formats": vars(formats),
            "threads": self._threads,
            "cache_dir": str(cache_dir) if cache_dir else None,
            "isa": self._asked_isa,
        }
        self._ranks = Ranks(size, told, gpu["count"] if gpu else 0)

    def _place(self, recorded: Recorded, gpu, gpu_layers, kv_cache_bytes) -> None:
        """Where the layers run, and what their keys and values look like."""
        program = self._native_program = recorded.program
        self._layouts, self.kv_dtype = recorded.layouts, recorded.kv_dtype
        self.weight_bytes: int = program.weight_bytes
        self.kv_page_bytes: int = sum(layout.page_bytes for layout in self._layouts)
        self.kv_bytes_per_token: int = self.kv_page_bytes // PAGE_TOKENS
        self.state_bytes: int = program.state_bytes
        self._gpu: GpuLayers | None = None
        if gpu:
            layers = len(self._layouts) if self._ranks else gpu_layers  # all ranks alike
            where = (gpu["free_bytes"], layers, kv_cache_bytes)
            self._gpu = GpuLayers(program, self._layouts, *where)
        self._on_device: dict[str, int] = {"on_device": self._gpu.instructions} if self._gpu else {}

    def _start(self, kv_cache_bytes, prefix_cache, queue_limit) -> None:
        budget = budget_bytes(kv_cache_bytes)
        if self._ranks and kv_cache_bytes is None:
            budget //= self._ranks.size  # as each takes so much
        slots = state_slots(self.state_bytes, self.kv_page_bytes, _SEQUENCES, budget)
        budget -= slots * self.state_bytes
        budgets = self._gpu.kv_budgets() if self._gpu else [(self.kv_page_bytes, budget)]
        pages = [kv_pages(size, self.context_length, _SEQUENCES, room) for size, room in budgets]
        if self._ranks:
            self._ranks.wait_ready()
        self._engine = _core.Engine(
            program=self._native_program,
            layouts=self._layouts,
            threads=self._threads,
            isa=self._asked_isa,
            **self._on_device,
            kv_pages=min(pages),
            state_slots=slots,
            step_tokens=_STEP_TOKENS,
            sequences=_SEQUENCES,
            context=self.context_length,
            vocabulary=self.vocab_size,
            check=os.environ.get("GENFAST_CHECK", "") not in ("", "0"),
            prefix_cache=prefix_cache,
            ranks=self._ranks.communicator if self._ranks else None,
            **({} if queue_limit is None else {"queue": queue_limit}),
        )
        self.isa: str = self._engine.isa
        log.info("loaded %s: %d weight bytes, %s", self.path, self.weight_bytes, self.isa)

    # --- generation ---------------------------------------------------------------------------

    def generate(self, prompt, **options: Any) -> Generation | list[Generation]:
        """Continues a prompt, or each of several.

        prompt: a str, a list of token ids, or a list of either. options: the fields of
        `genfast.Sampling`; what is not given comes from generation_config.json, else greedy. And
        draft: a smaller model of the same vocabulary (or its path) that guesses tokens which this
        one verifies, several a step: the same answer, sooner where the guesses are good. One
        prompt gives a Generation, a list gives a list of them. Ctrl-C cancels.
        """
        prompts, batched = self._prompts.several(prompt)
        jobs: list[list[Run]] = []
        try:
            for ids in prompts:
                jobs.append(self._runs(ids, options))
        except BaseException:
            for run in (run for job in jobs for run in job):
                run.cancel()
            raise
        finish_all([run for job in jobs for run in job])
        results = [gather(job) for job in jobs]
        return results if batched else results[0]

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[Chunk]:
        """Like `generate` for one prompt, in pieces as they come; see `Chunk`.

        The request starts now; closing the iterator cancels it.
        """
        return stream_all(self._runs(self._prompts.one(prompt), options))

    def astream(self, prompt: Prompt, **options: Any) -> AsyncStream:
        """`stream` for asyncio: never blocks the loop; cancelling the task cancels the request."""
        return AsyncStream(lambda: self._runs(self._prompts.one(prompt), options))

    # --- keys and values ------------------------------------------------------------------------

    def save_kv(self, prompt: Prompt, path: str | os.PathLike) -> int:
        """Writes the keys and values of a prompt to a file, computing them if need be.

        Whole pages of 32 tokens: returns how many tokens that is. The file begins with what made
        it (weights, tokenizer, formats, instruction set); `load_kv` refuses it elsewhere.
        """
        ids = self._prompts.one(prompt)
        self.logits(ids, start=len(ids) - 1)
        return kv_file.save(path, self, ids, self._engine.export_kv(ids))

    def load_kv(self, path: str | os.PathLike) -> int:
        """Puts a file of `save_kv` into the prefix cache; prompts that begin so start from there.

        Returns how many tokens it holds, fewer when the cache has no room. LoadError for a file
        that another model made, or that is none.
        """
        return self._engine.import_kv(*kv_file.load(path, self))

    def stats(self) -> dict[str, float]:
        """What the engine does now and has done.

        running, waiting: requests. kv_pages: of 32 tokens, in all; _used by requests, _free (of
        these _kept for prompts that begin alike). state_slots: of recurrent state; _used by
        requests; state_snapshots for prompts that begin alike. prompt_tokens; cached_tokens of
        these came from the prefix cache; prefix_hit_rate is their ratio. steps, tokens (computed),
        generated_tokens, tokens_per_second (of busy_seconds). tokens_drawn_on_gpu;
        tokens_left_to_cpu by a GPU that was asked. draft_tokens were guessed in drafts,
        accepted_tokens of these right, accepted_per_draft on average. step_ms_p50, _p90, _p99: of
        the last 1,024 steps. planning_us_per_step: processor time between computing. cpu_seconds,
        bytes_moved, kv_byte_seconds: totals of what `Usage` tells.
        """
        return self._engine.stats()

    # --- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancels what runs and frees the memory; may be called again."""
        engine = self.__dict__.pop("_engine", None)
        if engine is not None:
            engine.close()
            self._grammars.close()
        if self._ranks:
            self._ranks.close()
        self.__dict__.pop("_native_program", None)
        self._drafts.close()
        self._checkpoint.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name in ("_engine", "_native_program"):
            raise RuntimeError(f"this model ({self.__dict__.get('path')}) is closed")
        raise AttributeError(f"'Model' object has no attribute {name!r}")

    def __repr__(self) -> str:
        state = "" if "_engine" in self.__dict__ else ", closed"
        size = self.__dict__.get("weight_bytes", 0) / 1e6
        return f"<genfast.Model {self.config['model_type']} {self.path}, {size:.1f} MB{state}>"

    # --- helpers ------------------------------------------------------------------------------

    def _sampling_defaults(self) -> Sampling:
        return Sampling.make(
            self.generation_config, {}, source=str(self.path / "generation_config.json")
        )

    def _runs(
        self, ids: list[int], options: Mapping[str, Any], tools: ChatTools | None = None
    ) -> list[Run]:
        options = dict(options)
        draft = options.pop("draft", None)
        sampling = Sampling.make(
            self.generation_config,
            options,
            vocab_size=self.vocab_size,
            source=str(self.path / "generation_config.json"),
        )
        if sampling.stop and self.tokenizer is None:
            raise ValueError("stop needs a tokenizer, and this directory has none")
        refuse_guesses(self, draft, sampling)
        drafter = self._drafts.find(draft, self._engine, sampling)
        sampling = self._calibrated(sampling)
        seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
        stop_ids = list(sampling.stop_token_ids)
        if not sampling.ignore_eos:
            stop_ids += self._eos_ids()

        grammar = grammar_of(sampling)

        def receipt(run: Run) -> Receipt:
            return receipt_of(self, run)

        common = (self._engine, self.tokenizer, ids, sampling, seed, stop_ids)

        def guide() -> Any:  # of one run
            return self._grammars.guide(grammar, stop_ids) if grammar else None

        guided = guidance.native(sampling, self._prompts, ids)
        return start(*common, receipt, drafter, guide, tools, guided)

    def _eos_ids(self) -> list[int]:
        if self.tokenizer is not None:
            return [i for i in self.tokenizer.eos_ids if i < self.vocab_size]
        ids = self.generation_config.get("eos_token_id", self.config.get("eos_token_id"))
        ids = ids if isinstance(ids, list) else [ids]
        return [i for i in ids if isinstance(i, int) and 0 <= i < self.vocab_size]


@atexit.register
def _close_open_models() -> None:
    for model in list(_open_models):
        model.close()  # who waits for it comes back (csrc/bindings/without_gil.h)
