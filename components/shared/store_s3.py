"""The store on S3 (AWS, SeaweedFS, Ceph, ...), through boto3."""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)

from components.shared.digest import digest_of_file
from components.shared.errors import DamagedObject, StoreError
from components.shared.redaction import login_fault
from components.shared.store import Entry, explained, require_key

_SHA = "sha256"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")

_PART_BYTES = 64 << 20
_ATTEMPTS = 8
_PIECE = 32 << 20

_MISSING = ("404", "NoSuchKey", "NotFound")
_LOST = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


class S3Store:
    """A prefix of a bucket.

    Endpoint, region and credentials come from the environment (AWS_ENDPOINT_URL, AWS_REGION,
    AWS_ACCESS_KEY_ID, ...) as boto3 documents. Each object carries its SHA-256 as metadata, which
    is checked on the way back. Retries use botocore's adaptive mode with jitter; AWS_MAX_ATTEMPTS
    says how many: 8 outlast about half a minute, 16 two. Servers that
    refuse boto3's trailing checksums (411) want AWS_REQUEST_CHECKSUM_CALCULATION=when_required.

    Args:
        uri: `s3://bucket/prefix`.
        part_bytes: from which size on a file travels in parts of that size; S3 takes 5 MiB or more.
        attempts: how often a request is made, unless AWS_MAX_ATTEMPTS says.
    """

    def __init__(
        self, uri: str, *, part_bytes: int = _PART_BYTES, attempts: int = _ATTEMPTS
    ) -> None:
        self._transfer = TransferConfig(
            multipart_threshold=part_bytes, multipart_chunksize=part_bytes, max_concurrency=8
        )
        self._attempts = attempts
        place = uri.removeprefix("s3://").rstrip("/")
        self.uri = f"s3://{place}"
        self.bucket, _, prefix = place.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        if not _BUCKET.fullmatch(self.bucket):
            raise StoreError(f"{uri!r} names no bucket", remedy="Use s3://bucket/prefix.")
        if prefix:
            require_key(prefix)
        with self._explained("the bucket"):
            self._client: Any = _client(attempts)
            self._client.head_bucket(Bucket=self.bucket)

    def read(self, key: str) -> bytes:
        with self._explained(key):
            data, metadata = self._get(key)
        self._verify(key, metadata, hashlib.sha256(data).hexdigest())
        return data

    def sha256(self, key: str) -> str:
        sha = hashlib.sha256()
        with self._explained(key):
            size = self._client.head_object(Bucket=self.bucket, Key=self._name(key))[
                "ContentLength"
            ]
            for start in range(0, size, _PIECE):
                piece, _ = self._get(key, Range=f"bytes={start}-{start + _PIECE - 1}")
                sha.update(piece)
        return sha.hexdigest()

    def _get(self, key: str, **options: str) -> tuple[bytes, dict[str, str]]:
        """Return an object's bytes and metadata; botocore itself repeats only up to the body."""
        for attempt in count(1):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._name(key), **options)
            try:
                return answer["Body"].read(), answer["Metadata"]
            except (IncompleteReadError, HTTPClientError):
                if attempt == self._attempts:
                    raise
                time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError

    def write(self, key: str, data: bytes) -> None:
        with self._explained(key):
            self._client.put_object(
                Bucket=self.bucket,
                Key=self._name(key),
                Body=data,
                Metadata={_SHA: hashlib.sha256(data).hexdigest()},
            )

    def create(self, key: str, data: bytes) -> bool:
        with self._explained(key):
            try:
                self._client.put_object(
                    Bucket=self.bucket,
                    Key=self._name(key),
                    Body=data,
                    IfNoneMatch="*",
                    Metadata={_SHA: hashlib.sha256(data).hexdigest()},
                )
            except ClientError as error:
                if error.response["Error"]["Code"] in _LOST:
                    return self._holds(key, data)
                raise
        return True

    def _holds(self, key: str, data: bytes) -> bool:
        """Tell whether an object is what we wrote: botocore repeats a PUT whose answer was lost."""
        try:
            head = self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        except ClientError:  # it is gone again, so somebody else's came and went
            return False
        stored: str | None = head["Metadata"].get(_SHA)
        return stored == hashlib.sha256(data).hexdigest()

    def exists(self, key: str) -> bool:
        try:
            with self._explained(key):
                self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        except FileNotFoundError:
            return False
        return True

    def list(self, prefix: str) -> list[Entry]:
        start = f"{self._name(prefix)}/" if prefix else self._prefix
        skip = len(self._prefix)
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=start
            )
            found = [item for page in pages for item in page.get("Contents", [])]
        return sorted(
            (
                Entry(item["Key"][skip:], item["Size"], item["LastModified"].timestamp())
                for item in found
            ),
            key=lambda entry: entry.key,
        )

    def delete(self, key: str) -> None:
        with self._explained(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def upload(self, path: Path, key: str) -> None:
        with self._explained(key):
            self._client.upload_file(
                str(path),
                self.bucket,
                self._name(key),
                ExtraArgs={"Metadata": {_SHA: digest_of_file(path)}},
                Config=self._transfer,
            )

    def download(self, key: str, path: Path) -> None:
        temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
        with explained(path), self._explained(key):
            head = self._client.head_object(Bucket=self.bucket, Key=self._name(key))
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._client.download_file(
                    self.bucket, self._name(key), str(temporary), Config=self._transfer
                )
                self._verify(key, head["Metadata"], digest_of_file(temporary))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def abort_uploads(self, prefix: str, before: float) -> int:
        with self._explained(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=f"{self._name(prefix)}/"
            )
            uploads = [
                upload
                for page in pages
                for upload in page.get("Uploads", [])
                if upload["Initiated"].timestamp() < before
            ]
            for upload in uploads:
                self._client.abort_multipart_upload(
                    Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        return len(uploads)

    def _name(self, key: str) -> str:
        require_key(key)
        return self._prefix + key

    def _verify(self, key: str, metadata: dict[str, str], actual: str) -> None:
        expected = metadata.get(_SHA)
        if expected and expected != actual:
            raise DamagedObject(
                f"{self.uri}/{key} came back with other bytes than were written",
                remedy="Check the object store, then run again.",
            )

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _MISSING and key != "the bucket":
                raise FileNotFoundError(f"{self.uri}/{key}") from error
            raise StoreError(
                f"S3 refused {key} at {self.uri}: {code}",
                remedy="Check the bucket's name, the credentials and the bucket's policy.",
            ) from error
        except Boto3Error as error:  # a transfer of several parts; its cause is in its text
            raise StoreError(
                f"S3 did not take {key} at {self.uri}: {error}",
                remedy="Check the bucket's name, the credentials and the bucket's policy.",
            ) from error
        except BotoCoreError as error:
            raise StoreError(
                f"S3 cannot be reached for {self.uri}: {error}",
                remedy="Check AWS_ENDPOINT_URL, the region, the credentials and the network.",
            ) from error


def _client(attempts: int) -> Any:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if fault := login_fault(os.environ.get(name, "")):
            raise StoreError(
                f"the address in {name} {fault}",
                remedy="Put it into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            )
    retries: Any = {"mode": "adaptive"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["max_attempts"] = attempts
    config = Config(
        retries=retries,
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=16,
        user_agent_extra="lidr",
    )
    try:
        return boto3.client("s3", config=config)
    except ValueError as error:  # botocore's own word for an endpoint that is no URL
        raise StoreError(
            f"S3 cannot be used: {error}", remedy="Correct AWS_ENDPOINT_URL."
        ) from error
