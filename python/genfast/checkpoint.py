"""A directory of safetensors, mapped and checked before a single weight is touched.

Files come from strangers, so nothing in them is believed: whatever is wrong is a LoadError that
names the file, the tensor, what was found and what was expected.

The maps are shared and read-only. A file that another process truncates while it is mapped cannot
be guarded against: reading the lost pages kills the process, as in every program that maps files.
"""

from __future__ import annotations

import contextlib
import difflib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .config import read_object, show
from .errors import LoadError
from .safetensors_file import Entry, map_file

READABLE = {"F32": 4, "F16": 2, "BF16": 2}  # bytes an element


@dataclass(frozen=True)
class TensorView:
    """One tensor inside a mapped file; `data` is its bytes: uint8, 1-D, read-only, unaligned."""

    name: str
    file: Path
    dtype: str  # "F32" | "F16" | "BF16"
    shape: tuple[int, ...]
    data: np.ndarray
    mapped: bool = True  # false: made of the file's bytes, in memory that holds them alone


class Checkpoint:
    """The tensors of a directory: of `model.safetensors`, of the shards that
    `model.safetensors.index.json` lists, of either as diffusers calls it
    (`diffusion_pytorch_model…`), or of the only `*.safetensors` there is.

    Opening checks every header and reads nothing else; tensors are views into the maps.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._maps: dict[Path, tuple[mmap.mmap, np.ndarray]] = {}
        self._status: dict[Path, os.stat_result] = {}
        self._entries: dict[str, tuple[Path, Entry]] = {}
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        if not self.path.is_dir():
            problem = "is not a directory" if self.path.exists() else "no such directory"
            raise LoadError(f"{self.path}: {problem}; expected a Hugging Face model directory")
        for stem in ("model", "diffusion_pytorch_model"):
            single = self.path / f"{stem}.safetensors"
            index = self.path / f"{stem}.safetensors.index.json"
            if os.path.lexists(single):
                return self._add(single)
            if os.path.lexists(index):
                return self._add_shards(index)
        self._add(only_file(self.path))

    def _add_shards(self, index: Path) -> None:
        weight_map = read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise LoadError(
                f"{index}: weight_map: found {show(weight_map)}, expected an object that maps each "
                "tensor to the file that holds it"
            )
        shards: dict[str, list[str]] = {}
        for name, shard in weight_map.items():
            if not isinstance(shard, str) or not is_plain_name(shard):
                raise LoadError(
                    f"{index}: weight_map[{show(name)}]: found {show(shard)}, expected the name of "
                    "a file in the same directory, without any path"
                )
            shards.setdefault(shard, []).append(name)
        for shard, names in sorted(shards.items()):
            file = self.path / shard
            if not os.path.lexists(file):
                raise LoadError(
                    f"{file}: no such file, though {index.name} promises {len(names)} tensors in "
                    f"it ({show(names[0])} first); is the download complete?"
                )
            self._add(file, names, index.name)

    def _add(self, file: Path, names: list[str] | None = None, index: str = "") -> None:
        """Map `file` and enter its tensors, or of a shard those that `index` promises."""
        mapped, status, entries = map_file(file)
        self._maps[file] = (mapped, np.frombuffer(mapped, dtype=np.uint8))
        self._status[file] = status
        for name in entries if names is None else names:
            if name not in entries:
                raise LoadError(
                    f"{file}: tensor {show(name)} is missing, though {index} says it is here"
                )
            self._entries[name] = (file, entries[name])

    def names(self) -> list[str]:
        """The names of all tensors, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def files(self) -> list[Path]:
        """The mapped files, in the order they were opened."""
        return list(self._maps)

    def status(self, file: Path) -> os.stat_result:
        """What the file was when it was mapped."""
        return self._status[file]

    def contents(self, file: Path) -> np.ndarray:
        """All bytes of a mapped file: uint8, 1-D, read-only."""
        return self._maps[file][1]

    def release(self, file: Path, begin: int = 0, length: int | None = None) -> None:
        """Let go of a file's pages, which count as this process's memory once they were read;
        reading them again brings them back. begin: a multiple of the page size."""
        mapped = self._maps[file][0]
        length = len(mapped) - begin if length is None else length
        with contextlib.suppress(OSError, AttributeError):
            mapped.madvise(mmap.MADV_DONTNEED, begin, length)

    def release_view(self, view: TensorView) -> None:
        """`release` of the pages that a tensor lies in, once it has been copied."""
        if view.mapped:
            first = view.data.ctypes.data - self.contents(view.file).ctypes.data
            begin = first // mmap.PAGESIZE * mmap.PAGESIZE
            self.release(view.file, begin, first + view.data.nbytes - begin)

    @property
    def nbytes(self) -> int:
        """Bytes of tensor data in all."""
        return sum(e.end - e.begin for _, e in self._entries.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape of `name`, whatever its dtype; LoadError when it is absent."""
        return self._find(name)[1].shape

    def tensor(self, name: str, shape: Sequence[int] | None = None) -> TensorView:
        """A view of tensor `name`; LoadError when it is absent, not of `shape`, or of a dtype
        genfast does not read (F32, F16 and BF16 it does)."""
        file, entry = self._find(name, shape)
        if shape is not None and entry.shape != tuple(shape):
            raise LoadError(
                f"{file}: tensor {show(name)}: found shape {list(entry.shape)}, "
                f"expected {list(shape)} by config.json"
            )
        if entry.dtype not in READABLE:
            raise LoadError(
                f"{file}: tensor {show(name)}: found dtype {show(entry.dtype)}, expected one of "
                f"{', '.join(READABLE)}; of a quantised checkpoint, open the original instead "
                '(quantize="int8", "int4" or "fp8" quantises it at load)'
            )
        data = self._maps[file][1][entry.begin : entry.end]
        return TensorView(name, file, entry.dtype, entry.shape, data)

    def raw(self, name: str) -> tuple[str, tuple[int, ...], np.ndarray]:
        """(dtype, shape, bytes) of a tensor of whatever dtype."""
        file, entry = self._find(name)
        return entry.dtype, entry.shape, self._maps[file][1][entry.begin : entry.end]

    def file_of(self, name: str) -> Path:
        return self._find(name)[0]

    def _find(self, name: str, shape: Sequence[int] | None = None) -> tuple[Path, Entry]:
        if not self._maps:
            raise LoadError(f"{self.path}: the checkpoint is closed")
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.6)
        files = [f.name for f in self._maps]
        looked = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        raise LoadError(
            f"{self.path}: tensor {show(name)} is missing"
            + (f"; expected shape {list(shape)}" if shape is not None else "")
            + f"; looked in {looked} ({len(self._entries)} tensors)"
            + (f"; nearest are {', '.join(show(n) for n in near)}" if near else "")
        )

    def close(self) -> None:
        """Let go of the maps. Views still held keep theirs until they go."""
        maps = [m for m, _ in self._maps.values()]
        self._maps.clear()
        self._entries.clear()
        for m in maps:
            with contextlib.suppress(BufferError):  # a view is still held: the last to go unmaps
                m.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def is_plain_name(name: str) -> bool:
    """Whether `name` can only be a file of the directory itself.

    The name is judged, not where a link of that name leads: the hub's cache is made of links.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return name not in (".", "..") and 0 < size <= 255 and not any(c in "/\\\0" for c in name)


def only_file(directory: Path) -> Path:
    """The one `*.safetensors` of a directory that has no model.safetensors; LoadError otherwise."""
    try:
        present = sorted(os.listdir(directory))
    except OSError as e:
        raise LoadError(f"{directory}: cannot be listed: {e.strerror}") from e
    found = [n for n in present if n.endswith(".safetensors")]
    if len(found) == 1:
        return directory / found[0]
    wanted = "expected model.safetensors or model.safetensors.index.json"
    if found:
        names = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise LoadError(f"{directory}: found {len(found)} files ({names}) and no index; {wanted}")
    other = [n for n in present if n.endswith((".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5"))]
    if not other:
        raise LoadError(f"{directory}: no safetensors file; {wanted}")
    raise LoadError(
        f"{directory}: no safetensors file, only {other[0]}; {wanted}. Where transformers is "
        "installed, convert with AutoModelForCausalLM.from_pretrained(dir).save_pretrained(dir)"
    )
