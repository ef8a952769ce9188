"""The store on S3 (AWS, SeaweedFS, Ceph, ...), through boto3."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import DamagedObject, StoreError
from lidr.components.shared.core.retry import Explain, Wait, retry, retry_seconds
from lidr.components.shared.store.base import Entry, require_key, wrap_os_errors
from lidr.components.shared.store.s3_client import new_client, s3_client
from lidr.components.shared.store.s3_errors import MISSING_CODES, NoBucket, code_of, explain
from lidr.components.shared.store.s3_transfers import repeat_requests

_SHA = "sha256"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")

_PART_BYTES = 64 << 20
_PIECE_BYTES = 32 << 20

_STARTING_SECONDS = 60.0
"""How long to keep asking for a missing bucket: SeaweedFS reports none while it starts or stops."""

_BARE_REFUSALS = ("400", "403")
"""Codes of a refused HEAD, which has no body; the same refusal of a listing says why."""

_NEXT_PAGE = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_multipart_uploads": {
        "KeyMarker": "NextKeyMarker",
        "UploadIdMarker": "NextUploadIdMarker",
    },
}
"""By operation: the options that ask for the next page, each with the answer's field for it."""

_EXISTS_CODES = ("412", "PreconditionFailed")
"""Codes with which a conditional PUT is refused because the object exists."""

Result = TypeVar("Result")


class S3Store:
    """A prefix of a bucket.

    Endpoint, region and credentials come from the environment (AWS_ENDPOINT_URL, AWS_REGION,
    AWS_ACCESS_KEY_ID, ...) as boto3 documents. Each object carries its SHA-256 as metadata, which
    is checked when it is read. botocore retries a request a few times (AWS_MAX_ATTEMPTS; always in
    its mode `adaptive`); transient errors that remain are retried for LIDR_RETRY_SECONDS, each part
    of a file and each page of a listing separately. Servers that refuse boto3's trailing checksums
    (411) need AWS_REQUEST_CHECKSUM_CALCULATION=when_required.

    Args:
        uri: `s3://bucket/prefix`.
        part_bytes: size of a part. Files of this size or larger are sent in parts; S3 requires
            5 MiB or more.
        seconds: for which transient errors are retried; by default LIDR_RETRY_SECONDS.
    """

    def __init__(
        self, uri: str, *, part_bytes: int = _PART_BYTES, seconds: float | None = None
    ) -> None:
        from boto3.s3.transfer import TransferConfig

        self._transfer = TransferConfig(
            multipart_threshold=part_bytes, multipart_chunksize=part_bytes, max_concurrency=8
        )
        self._seconds = seconds
        self._clients: dict[float, Any] = {}
        place = uri.removeprefix("s3://").rstrip("/")
        self.uri = f"s3://{place}"
        self.bucket, _, prefix = place.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        if not _BUCKET.fullmatch(self.bucket):
            raise StoreError(f"{uri!r} names no bucket", remedy="Use s3://bucket/prefix.")
        if prefix:
            require_key(prefix)
        self._opened = False
        self._ask("", lambda _: self._client.head_bucket(Bucket=self.bucket))
        self._opened = True

    def _retry_seconds(self) -> float:
        return retry_seconds() if self._seconds is None else self._seconds

    def _bucket_seconds(self) -> float:
        """Return for how long a missing bucket is asked for again.

        A command, which retries for less than a minute, fails at once if it has never seen the
        bucket: its name may be mistyped. A bucket that was seen before may come back.
        """
        seconds = self._retry_seconds()
        wait = self._opened or seconds >= _STARTING_SECONDS
        return min(seconds, _STARTING_SECONDS) if wait else 0.0

    @property
    def _client(self) -> Any:
        """The client for the present retry time, which `answering_quickly` shortens."""
        seconds = self._retry_seconds()
        if seconds not in self._clients:
            why = partial(explain, who="the object store", place=self.uri, key="")
            self._clients[seconds] = retry(lambda: s3_client(seconds), "", why, seconds=0)
        return self._clients[seconds]

    def read(self, key: str) -> bytes:
        return _retry_if_damaged(lambda: self._read(key))

    def _read(self, key: str) -> bytes:
        data, metadata = self._ask(key, lambda _: self._get(key))
        self._verify(key, metadata, hashlib.sha256(data).hexdigest())
        return data

    def sha256(self, key: str) -> str:
        return _retry_if_damaged(lambda: self._sha256(key))

    def _sha256(self, key: str) -> str:
        sha = hashlib.sha256()
        head = self._head(key)
        for start in range(0, head["ContentLength"], _PIECE_BYTES):
            sha.update(self._piece(key, start))
        return sha.hexdigest()

    def _piece(self, key: str, start: int) -> bytes:
        span = f"bytes={start}-{start + _PIECE_BYTES - 1}"
        return self._ask(key, lambda _: self._get(key, Range=span))[0]

    def _get(self, key: str, **options: str) -> tuple[bytes, dict[str, str]]:
        answer = self._client.get_object(Bucket=self.bucket, Key=self._name(key), **options)
        return answer["Body"].read(), answer["Metadata"]

    def write(self, key: str, data: bytes) -> None:
        _retry_if_damaged(lambda: self._ask(key, lambda _: self._put(key, data)))

    def create(self, key: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        def put(_: Wait) -> bool:
            try:
                self._put(key, data, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) not in _EXISTS_CODES:
                    raise
                return self._has_content(key, data)
            return True

        return _retry_if_damaged(lambda: self._ask(key, put))

    def _put(self, key: str, data: bytes, **options: str) -> None:
        sha = hashlib.sha256(data).hexdigest()
        self._client.put_object(
            Bucket=self.bucket, Key=self._name(key), Body=data, Metadata={_SHA: sha}, **options
        )

    def _has_content(self, key: str, data: bytes) -> bool:
        """Return whether an object has this content: a retried PUT may meet our own object."""
        try:
            head = self._head(key)
        except FileNotFoundError:  # another writer's object, deleted since
            return False
        stored: str | None = head["Metadata"].get(_SHA)
        return stored == hashlib.sha256(data).hexdigest()

    def exists(self, key: str) -> bool:
        try:
            self._head(key)
        except FileNotFoundError:
            return False
        return True

    def _head(self, key: str) -> Any:
        name = self._name(key)
        return self._ask(key, lambda _: self._client.head_object(Bucket=self.bucket, Key=name))

    def list(self, prefix: str) -> list[Entry]:
        start = f"{self._name(prefix)}/" if prefix else self._prefix
        skip = len(self._prefix)
        found = self._pages(prefix, "list_objects_v2", "Contents", start)
        entries = [
            Entry(
                item["Key"][skip:],
                item["Size"],
                item["LastModified"].timestamp(),
                item.get("ETag", ""),
            )
            for item in found
            if not item["Key"].endswith("/")  # a marker of a folder, which consoles create
        ]
        return sorted(entries, key=lambda entry: entry.key)

    def _pages(self, key: str, operation: str, field: str, start: str) -> Sequence[Any]:
        """Return the items of all pages of a listing; each page is retried separately."""
        found: list[Any] = []
        where = {"Bucket": self.bucket, "Prefix": start}
        while True:
            page = self._ask(key, partial(self._page, operation, where))
            found += page.get(field, [])
            if not page.get("IsTruncated"):
                return found
            where |= {name: page[said] for name, said in _NEXT_PAGE[operation].items()}

    def _page(self, operation: str, where: dict[str, str], _: Wait) -> Any:
        return getattr(self._client, operation)(**where)

    def delete(self, key: str) -> None:
        name = self._name(key)
        self._ask(key, lambda _: self._client.delete_object(Bucket=self.bucket, Key=name))

    def upload(self, path: Path, key: str) -> None:
        name, extra = self._name(key), {"Metadata": {_SHA: digest_of_file(path)}}

        def put(wait: Wait) -> None:
            client = self._client_for(path.stat().st_size, key)
            client.upload_file(
                str(path), self.bucket, name, extra, wait.note_progress, self._transfer
            )

        _retry_if_damaged(lambda: self._ask(key, put))

    def download(self, key: str, path: Path) -> None:
        temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
        with wrap_os_errors(path, local_copy=True):
            try:
                _retry_if_damaged(lambda: self._download(key, temporary))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _download(self, key: str, path: Path) -> None:
        head, name = self._head(key), self._name(key)
        path.parent.mkdir(parents=True, exist_ok=True)

        def get(wait: Wait) -> None:
            client = self._client_for(head["ContentLength"], key)
            client.download_file(
                self.bucket, name, str(path), None, wait.note_progress, self._transfer
            )

        self._ask(key, get)
        self._verify(key, head["Metadata"], digest_of_file(path))

    def _client_for(self, size: int, key: str) -> Any:
        """Return a client for the transfer of a file; one in parts retries each part separately."""
        if size < self._transfer.multipart_threshold:
            return self._client
        client = new_client(self._retry_seconds())
        repeat_requests(client, self._who, self._explain(key), self._seconds)
        return client

    def abort_uploads(self, prefix: str, before: float) -> int:
        found = self._pages(prefix, "list_multipart_uploads", "Uploads", f"{self._name(prefix)}/")
        uploads = [upload for upload in found if upload["Initiated"].timestamp() < before]
        for upload in uploads:
            self._abort(prefix, upload["Key"], upload["UploadId"])
        return len(uploads)

    def _abort(self, prefix: str, name: str, upload: str) -> None:
        from botocore.exceptions import ClientError

        def abort(_: Wait) -> None:
            try:
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=name, UploadId=upload)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":  # another process was first
                    raise

        self._ask(prefix, abort)

    def _name(self, key: str) -> str:
        require_key(key)
        return self._prefix + key

    def _verify(self, key: str, metadata: dict[str, str], actual: str) -> None:
        expected = metadata.get(_SHA)
        if expected and expected != actual:
            raise DamagedObject(
                f"{self.uri}/{key} does not have the bytes that were written",
                remedy="Check the object store, then run again.",
            )

    def _ask(self, key: str, request: Callable[[Wait], Result]) -> Result:
        """Make a request, and retry it while it fails with transient errors or finds no bucket.

        Args:
            key: of the object, for messages; "" is the bucket.
            request: reports the progress of a long answer to the `Wait` that it is called with.
        """
        try:
            return self._request(key, request)
        except NoBucket:
            if not (seconds := self._bucket_seconds()):
                raise

        def again() -> Result:
            # First the bucket: if it came back just after the object was asked for, the object
            # would look missing.
            self._head_bucket()
            return self._request(key, request)

        return retry(again, "the object store", _if_no_bucket, seconds, long=True)

    def _head_bucket(self) -> None:
        self._request("", lambda _: self._client.head_bucket(Bucket=self.bucket))

    def _request(self, key: str, request: Callable[[Wait], Result]) -> Result:
        wait = Wait(self._who, self._seconds)
        return wait.call(lambda: self._attempt(key, lambda: request(wait)), self._explain(key))

    @property
    def _who(self) -> str:
        return f"the object store at {self._client.meta.endpoint_url}"

    def _explain(self, key: str) -> Explain:
        return partial(explain, who=self._who, place=self.uri, key=key)

    def _attempt(self, key: str, request: Callable[[], Result]) -> Result:
        """Make a request; if its error leaves the cause open, another request finds the cause."""
        from botocore.exceptions import ClientError

        try:
            return request()
        except ClientError as error:
            if key and code_of(error) in MISSING_CODES:
                # A store that stops or starts may have lost its bucket for now, not the object.
                self._client.head_bucket(Bucket=self.bucket)
            if code_of(error) in _BARE_REFUSALS:
                self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._prefix, MaxKeys=1)
            raise


def _if_no_bucket(error: Exception) -> StoreError | None:
    return error if isinstance(error, NoBucket) else None


def _retry_if_damaged(action: Callable[[], Result]) -> Result:
    """Repeat a transfer once if bytes arrived damaged: the object itself may be intact."""
    try:
        return action()
    except DamagedObject:
        return action()
