"""Reads the files of prompts and questions that a recipe names, from any kind of source."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lidr.components.shared.config.prompts import LINE_NUMBER, Prompts
from lidr.components.shared.config.source import hub_data, is_web, parse_source
from lidr.components.shared.core.digest import digest_of_bytes
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetched import find_fetched
from lidr.components.shared.inputs.hub import ask_hub
from lidr.components.shared.inputs.web import download
from lidr.components.shared.store.open import open_store


def read_file(source: str, key: str) -> bytes:
    """Return the bytes of a file that a recipe names.

    Args:
        source: as in the recipe: path, `s3://`, `hf://datasets/org/name@<commit>/file` or
            `https://`, which needs a pin; others may have one.
        key: the recipe's key, for messages.

    Raises:
        BadInput: the file does not exist, cannot be read, or does not match its pin.
    """
    named = parse_source(source)
    file, pin = named.address, named.sha256.get("", "")
    try:
        data = _read(file, key, pin)
    except ValueError as error:  # the path contains NUL, the address a wrong port
        raise BadInput(
            f"{file!r} is not a valid path or address", remedy=f"Correct {key} in the recipe."
        ) from error
    except FileNotFoundError as error:
        raise BadInput("no such file", file=file, remedy=f"Correct {key} in the recipe.") from error
    except OSError as error:
        raise BadInput(
            f"cannot be read: {error.strerror}",
            file=file,
            remedy=f"Correct {key} in the recipe, or the file's permissions.",
        ) from error
    if pin and (actual := digest_of_bytes(data)) != pin:
        raise BadInput(
            f"has the SHA-256 {actual}, the recipe pins {pin}",
            file=file,
            remedy=f"The file changed, or the pin is another file's: correct {key}.",
        )
    return data


def _read(file: str, key: str, pin: str) -> bytes:
    if (found := find_fetched(file)) and found[1]:
        stage, name = found
        if name not in stage.files():
            raise FileNotFoundError(name)
        return stage.read(name)
    if file.startswith("hf://"):
        return _fetch_hub_file(file, key).read_bytes()
    if is_web(file):
        if not pin:
            raise BadInput(
                "has no sha256",
                file=file,
                remedy=f"Add it to {key}: what a web server sends may change.",
            )
        with tempfile.TemporaryDirectory(prefix="lidr-web-") as folder:
            download(file, Path(folder) / "file", pin)
            return (Path(folder) / "file").read_bytes()
    if file.startswith("s3://"):
        return _read_object(file, key)
    path = file.removeprefix("file://")
    if "://" in path:
        raise BadInput(
            "has an unknown scheme",
            file=file,
            remedy=f"Correct {key}: a path, s3://, hf://datasets/ or https://.",
        )
    _refuse_device(Path(path), key)
    return Path(path).read_bytes()


def _read_object(file: str, key: str) -> bytes:
    """Return the bytes of `s3://bucket/.../name`."""
    bucket, _, name = file.removeprefix("s3://").rpartition("/")
    if not bucket or not name:
        raise BadInput(
            "names no bucket and file", file=file, remedy=f"Correct {key}: s3://bucket/file."
        )
    return open_store(f"s3://{bucket}").read(name)


def _refuse_device(path: Path, key: str) -> None:
    """Refuse devices and pipes, which may have no end or wait for a writer."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadInput("not a file", file=path, remedy=f"Correct {key} in the recipe.")


def is_parquet(address: str) -> bool:
    """Return whether a file's address, which may have a query, names a Parquet file."""
    return address.partition("?")[0].endswith(".parquet")


def json_lines(file: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of JSON Lines, each with its line (1-based).

    Raises:
        BadInput: a line is not UTF-8, or not a JSON object.
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
            what = str(error)
            if isinstance(error, json.JSONDecodeError):  # it names a line of its own
                what = f"{error.msg} at column {error.colno}"
            raise BadInput(
                f"not valid JSON ({what})",
                file=file,
                line=line,
                remedy="Fix the line: one JSON object a line.",
            ) from error
        yield line, _as_object(row, file, line, "One JSON object a line.")


def json_rows(file: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON array or of JSON Lines, each with the line it starts in.

    Raises:
        BadInput: the data is neither, or an element is not an object.
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
    except ValueError as error:  # a number of thousands of digits
        raise BadInput(f"not valid JSON ({error})", file=file, remedy="Fix the array.") from error
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line, counted = 1, 0
    while (start := _next_element(text, at)) is not None:
        line += text.count("\n", counted, start)
        counted = start
        row, at = decoder.raw_decode(text, start)
        yield line, _as_object(row, file, line, "Each element must be an object.")


def _next_element(text: str, at: int) -> int | None:
    """Return where the next element of a valid array starts; None at its end."""
    while text[at] in " \t\r\n,":
        at += 1
    return None if text[at] == "]" else at


def first_field(row: Mapping[str, Any], names: Sequence[str], line: int) -> object:
    """Return the first value of these fields that is not null, or None; LINE_NUMBER is 0-based."""
    values = (line - 1 if name == LINE_NUMBER else row.get(name) for name in names)
    return next((value for value in values if value is not None), None)


def prompt_text(row: Mapping[str, Any], settings: Prompts, file: str, line: int) -> str:
    """Return the prompt in a row of a prompt file: its instruction and, below it, its input.

    Raises:
        BadInput: the instruction is missing, or the input is not text.
    """
    fields = settings.fields
    text, extra = first_field(row, fields.text, line), first_field(row, fields.input, line)
    require_text(fields.text, text, row, file, line)
    if extra is None or extra == "":
        return str(text)
    if not isinstance(extra, str):
        raise BadInput(
            f"field {alternatives(fields.input)} is not text",
            file=file,
            line=line,
            remedy="Write text, or name another field in prompts.fields.input in the recipe.",
        )
    return f"{text}\n{extra}"


def require_text(
    names: Sequence[str], value: object, row: Mapping[str, Any], file: str, line: int
) -> None:
    """Refuse a value that is not text, or empty."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(
            f"field {alternatives(names)} is missing, empty or not text; "
            f"the line has {', '.join(row)}",
            file=file,
            line=line,
            remedy="Fill it in, or name the field under prompts.fields in the recipe.",
        )


def alternatives(names: Sequence[str]) -> str:
    """Return the possible names of a field, for a message."""
    return " or ".join(map(repr, names))


def _as_object(row: object, file: str, line: int, remedy: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadInput("not a JSON object", file=file, line=line, remedy=remedy)
    return row


def _fetch_hub_file(address: str, key: str) -> Path:
    """Fetch a data set's file from the hub; return its path on this machine."""
    from huggingface_hub import hf_hub_download

    data = hub_data(address)
    if not data or not data.file:
        raise BadInput(
            f"{key} {address!r} names no revision and file of a data set",
            remedy="Write hf://datasets/org/name@<commit>/<file>.",
        )
    return ask_hub(
        lambda: Path(
            hf_hub_download(data.name, data.file, revision=data.revision, repo_type="dataset")
        ),
        f"{address} cannot be downloaded",
    )
