"""Arrays larger than memory, in safetensors files: written in pieces, read without a copy.

Format: 8 bytes with the header's length N, N bytes of JSON, then the arrays. The safetensors
library holds whole arrays in memory when it writes, and copies them when it reads.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_CODES = {"I32": "<i4", "I64": "<i8", "F32": "<f4", "U8": "|u1"}
_NAMES = {np.dtype(dtype): code for code, dtype in _CODES.items()}
_ALIGNMENT = 8

Array = npt.NDArray[Any]


class ArrayFile:
    """An array of one dimension that grows at its end, on disk."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._path = path
        self._length = 0
        path.touch(exist_ok=False)

    def __len__(self) -> int:
        return self._length

    def append(self, values: Array) -> None:
        """Write `values` at the end; converted to the array's own type."""
        values = np.ascontiguousarray(values, dtype=self.dtype)
        # Opened each time, as appends are few and large: nothing is left open by an error.
        with self._path.open("ab") as file:
            file.write(values.data)
        self._length += len(values)

    def __getitem__(self, part: slice) -> Array:
        """A copy of some elements that follow one another."""
        first, end, _ = part.indices(self._length)
        offset = first * self.dtype.itemsize
        found: Array = np.fromfile(self._path, self.dtype, max(0, end - first), offset=offset)
        return found

    def mapped(self) -> Array:
        """A read-only view of the elements that it has now."""
        if not self._length:
            return np.zeros(0, self.dtype)
        return np.memmap(self._path, self.dtype, "r", shape=(self._length,)).view(np.ndarray)

    def copy_to(self, target: Any) -> None:
        """Write all bytes to an open file."""
        with self._path.open("rb") as source:
            shutil.copyfileobj(source, target, 2**20)

    def remove(self) -> None:
        """Take it from the disk."""
        self._path.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: Mapping[str, ArrayFile | Array]) -> None:
    """Write a safetensors file; those with the widest elements come first, which aligns all."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header, begin = {}, 0
    for name in order:
        size = len(arrays[name]) * arrays[name].dtype.itemsize
        header[name] = {
            "dtype": _NAMES[arrays[name].dtype],
            "shape": [len(arrays[name])],
            "data_offsets": [begin, begin + size],
        }
        begin += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            array = arrays[name]
            if isinstance(array, ArrayFile):
                array.copy_to(file)
            else:
                file.write(np.ascontiguousarray(array).data)


def map_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file as read-only views of its pages."""
    content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    size = int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8 : 8 + size].tobytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        arrays[name] = content[begin:end].view(_CODES[entry["dtype"]])
    return arrays
