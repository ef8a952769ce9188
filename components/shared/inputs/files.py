"""Files of records that a recipe names: where they are, and what stands in them line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.store.open import open_store

_HUB = re.compile(r"hf://(?P<name>[^@#]+)@(?P<revision>[^@#]+)#(?P<file>.+)")


def read_file(file: str, key: str) -> bytes:
    """Return the bytes of a file that a recipe names.

    Args:
        file: path, `s3://` URI or `hf://org/dataset@revision#file`.
        key: of the recipe that names it, for the message.

    Raises:
        BadInput: there is no such file, or it cannot be read.
    """
    try:
        if file.startswith("hf://"):
            return _hub_file(file, key).read_bytes()
        if "://" in file:
            root, _, name = file.rpartition("/")
            return open_store(root).read(name)
        _refuse_device(Path(file), key)
        return Path(file).read_bytes()
    except ValueError as error:  # a NUL, which no name holds
        raise BadInput(
            f"{file!r} is no file's name", remedy=f"Correct {key} in the recipe."
        ) from error
    except FileNotFoundError as error:
        raise BadInput("no such file", file=file, remedy=f"Correct {key} in the recipe.") from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=file) from error


def _refuse_device(path: Path, key: str) -> None:
    """Refuse what has no end or waits for somebody: /dev/zero, a pipe."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadInput("not a file", file=path, remedy=f"Correct {key} in the recipe.")


def json_lines(file: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of JSON Lines, each with its line.

    Raises:
        BadInput: a line is not UTF-8, or no JSON object.
    """
    for line, raw in enumerate(data.split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise BadInput(
                f"byte {error.start + 1} is not UTF-8",
                file=file,
                line=line,
                remedy="Save the file as UTF-8.",
            ) from error
        except (ValueError, RecursionError) as error:
            raise BadInput(
                f"not valid JSON ({error})",
                file=file,
                line=line,
                remedy="Fix the line: one JSON object a line.",
            ) from error
        yield line, _as_object(row, file, line)


def json_rows(file: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON array or of JSON Lines, each with the line it starts in.

    Raises:
        BadInput: it is neither, or an element is no object.
    """
    if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return _array_rows(file, data)
    return json_lines(file, data)


def _array_rows(file: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
        json.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=file, line=line, remedy="Save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise BadInput(
            f"not valid JSON ({error.msg})", file=file, line=error.lineno, remedy="Fix the array."
        ) from error
    except RecursionError as error:
        raise BadInput("nested too deeply", file=file, remedy="Use plain objects.") from error
    decoder, at, line = json.JSONDecoder(), text.index("[") + 1, 1
    seen = 0
    while (start := _next_element(text, at)) is not None:
        line += text.count("\n", seen, start)
        seen = start
        row, at = decoder.raw_decode(text, start)
        yield line, _as_object(row, file, line)


def _next_element(text: str, at: int) -> int | None:
    """Return where the array's next element starts; the array is known to be well formed."""
    while text[at] in " \t\r\n,":
        at += 1
    return None if text[at] == "]" else at


def _as_object(row: object, file: str, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadInput("not a JSON object", file=file, line=line, remedy="One JSON object a line.")
    return row


def _hub_file(file: str, key: str) -> Path:
    from huggingface_hub import hf_hub_download

    found = _HUB.fullmatch(file)
    if not found:
        raise BadInput(
            f"{key} {file!r} names no revision and file of a data set",
            remedy="Write hf://org/dataset@<commit>#<file>.",
        )
    name, revision, wanted = found["name"], found["revision"], found["file"]
    return ask_hub(
        lambda: Path(hf_hub_download(name, wanted, revision=revision, repo_type="dataset")),
        f"{file} cannot be downloaded",
        "Check the name, the revision, HF_TOKEN and the network.",
    )
