"""Addresses with a login are refused wherever one is given, and never repeated."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError
from traceback import format_exception
from typing import Any, get_args
from urllib.parse import quote

import pytest
import yaml
from pydantic import BaseModel
from referencing import Resource
from referencing.exceptions import NoSuchResource, PointerToNowhere

from lidr.components.shared.config.load import load
from lidr.components.shared.config.profile import Oidc, Profile, load_profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.redaction import (
    is_secret_name,
    login_fault,
    redact_exception,
    redacted,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking.client import tracking_uri
from lidr.pipelines import cli
from tests.fakes import make_recipe

SECRET = "s3cr3t-in-an-address"

LOGINS = (
    f"https://me:{SECRET}@host/x",
    f"https://{SECRET}@host/x",
    f"s3://key:{SECRET}@bucket/prefix",
    f"hf://me:{SECRET}@org/name@abc",
    f"postgresql://me:{SECRET}@db/mlflow",
    f"HTTPS://me:{SECRET}@host/x",
    f"https://host/x?token={SECRET}",
    f"https://host/x?a=1&X-Amz-Signature={SECRET}",
    f"postgresql://db/mlflow?password={SECRET}",
    f"https://me:{SECRET}@[::1/x",
    f"gs://me:p@{SECRET}@host/x",
    f"https://acct.blob.core.windows.net/c/f.jsonl?sv=2022-11-02&sig={SECRET}",
    f"https://host/f?key={SECRET}",
    f"https://host/f?access_key={SECRET}",
    f"https://host/f?db_pwd={SECRET}",
    f"https://host/f?auth={SECRET}",
    f"postgresql://me:pa/{SECRET}@db/mlflow",
    f"postgresql+psycopg_async://me:pa?{SECRET}#x@db:5432/mlflow",
    f"mysql://me@corp:pa/{SECRET}@db/mlflow",
    f"mssql+pyodbc://me:p@{SECRET}@db/mlflow",
    f"postgresql://me:p[/{SECRET}@db/mlflow",
)

PLAIN = (
    "",
    "a/folder",
    "me@host",
    "s3://bucket/prefix",
    "hf://org/name@abc",
    "hf://name@abc#train.jsonl",
    "models:/name@champion",
    "postgresql://me@db/mlflow",
    "sqlite:////path@x/mlflow.db",
    "postgresql://db:5432/mlflow?sslmode=require",
    "https://host/x?page=2",
    "https://host/x?tokenizer=gpt2&max_tokens=5&author=me",
    "ghcr.io/lidr/train@sha256:abc",
)


@pytest.mark.parametrize("address", LOGINS)
def test_an_address_with_a_login_is_known_and_hidden(address: str):
    assert login_fault(address)
    assert SECRET not in redacted(f"cannot reach {address}: refused")


@pytest.mark.parametrize("address", PLAIN)
def test_others_are_left_as_they_are(address: str):
    assert login_fault(address) == ""
    told = f"cannot reach {address}: refused"
    assert redacted(told) == told.replace("//me@", "//[redacted]@")


def test_a_code_in_a_query_is_hidden_but_not_refused():
    address = "https://host/x?code=es"
    assert login_fault(address) == ""
    assert redacted(address) == "https://host/x?code=[redacted]"


def test_a_secret_in_a_query_is_hidden_where_only_the_path_is_named():
    told = "Max retries exceeded with url: /f.jsonl?a=1&X-Amz-Signature="
    assert redacted(told + SECRET) == f"{told}[redacted]"


def test_hiding_logins_of_databases_takes_linear_time():
    for text in ("postgresql://:" * 50_000, "mysql://a:" + "/x" * 500_000):
        assert redacted(text) == text


def paths(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key of every field that may hold text, and how: alone, listed, by name."""
    for name, field in kind.model_fields.items():
        parts = list(_parts(field.annotation))
        models = [each for each in parts if isinstance(each, type) and issubclass(each, BaseModel)]
        for model in models:
            yield from paths(model, f"{prefix}{name}.")
        if str in parts and not models:
            shape = str(field.annotation)
            form = "by name" if "dict[" in shape else "listed" if "tuple[" in shape else "alone"
            yield f"{prefix}{name}", form


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for each in get_args(annotation):
        yield from _parts(each)


RECIPE = make_recipe().model_dump(mode="json") | {
    "judge": {
        "endpoint": {"model": "m"},
        "tasks": [{"name": "mt_bench", "questions": "{language}.jsonl"}],
    }
}
OIDC = Oidc(token_url="https://i", client_id="l")
PROFILE = {"name": "mine", "kubeflow": {"oidc": OIDC.__dict__}}
FIELDS = [(Recipe, RECIPE, *each) for each in paths(Recipe)]
FIELDS += [(Profile, PROFILE, *each) for each in paths(Profile)]


def placed(base: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Return a configuration with one key changed; the first of a list stands for all."""
    name, _, rest = key.partition(".")
    if not rest:
        return base | {name: value}
    inner = base.get(name)
    if isinstance(inner, list):
        return base | {name: [placed(inner[0], rest, value), *inner[1:]]}
    return base | {name: placed(inner if isinstance(inner, dict) else {}, rest, value)}


def test_every_field_is_found():
    keys = {key for _, _, key, _ in FIELDS}
    assert {"store", "tracking_uri", "kubeflow.host", "kubeflow.oidc.token_url"} <= keys
    assert {"model.source", "prompts.files", "judge.url", "judge.tasks.questions"} <= keys
    assert {"engine.endpoint.url", "evaluation.data", "evaluation.include_path"} <= keys
    assert len(keys) > 60


@pytest.mark.parametrize(
    ("kind", "base", "key", "form"), FIELDS, ids=[f"{f[0].__name__}.{f[2]}" for f in FIELDS]
)
def test_no_field_takes_an_address_with_a_login(tmp_path: Path, kind, base, key: str, form: str):
    for address in LOGINS[:3]:
        value = {"alone": address, "listed": [address], "by name": {"en": address}}[form]
        file = tmp_path / "given.yaml"
        file.write_text(yaml.safe_dump(placed(base, key, value)))
        with pytest.raises(BadInput) as caught:
            load(file, kind, {})
        assert SECRET not in str(caught.value)


def test_a_secret_in_place_of_its_name_is_not_repeated(tmp_path: Path):
    for section in (
        {"kubeflow": {"token_env": SECRET}},
        {"secrets": {"hub": SECRET}},
        {"secrets": {"hub": [SECRET]}},
        {"api_key": SECRET},
    ):
        file = tmp_path / "profile.yaml"
        file.write_text(yaml.safe_dump({"name": "mine"} | section))
        with pytest.raises(BadInput) as caught:
            load_profile(file)
        assert SECRET not in str(caught.value)


COMMANDS = (
    ("run", "tiny_world", "--store", LOGINS[0]),
    ("run", "tiny_world", "--store", LOGINS[2]),
    ("run", "tiny_world", "--set", f"model.source={LOGINS[2]}"),
    ("run", "tiny_world", "--set", LOGINS[0]),
    ("run", LOGINS[0]),
    ("run", "tiny_world", "--profile", LOGINS[0]),
    ("status", "mine", "--store", LOGINS[2]),
    ("report", "mine", "--store", LOGINS[2]),
    ("relocate", LOGINS[2], "elsewhere"),
    ("relocate", "somewhere", LOGINS[2]),
    ("lineage", "mine", "--store", LOGINS[2]),
    ("prune", "--store", LOGINS[2]),
)


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(each)[:40] for each in COMMANDS])
def test_no_command_repeats_a_login(words, monkeypatch, capsys, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(sys, "argv", ["lidr", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    assert ended.value.code == 2, told.err
    assert SECRET not in told.out + told.err
    assert not [path for path in tmp_path.rglob("*") if SECRET in str(path)]


VARIABLES = {
    "MLFLOW_TRACKING_URI": lambda: tracking_uri("s3://b/s"),
    "AWS_ENDPOINT_URL": lambda: open_store("s3://b/s"),
    "AWS_ENDPOINT_URL_S3": lambda: open_store("s3://b/s"),
    "KF_PIPELINES_ENDPOINT": lambda: _client(),
}


def _client() -> object:
    from lidr.pipelines.cluster.client import Client

    return Client(Profile(name="mine", runner="kubeflow"))


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_may_hold_an_address_with_a_login(name: str, monkeypatch):
    for address in (LOGINS[0], LOGINS[1], f"admin:{SECRET}@mlflow:5000"):
        monkeypatch.setenv(name, address)
        with pytest.raises(BadInput, match="holds a login") as caught:
            VARIABLES[name]()
        assert SECRET not in str(caught.value)


def test_values_of_secret_variables_are_left_out(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HF_HOME", "/home/me/models")
    assert (
        redacted(f"401 for {SECRET} in /home/me/models") == "401 for [redacted] in /home/me/models"
    )
    error = LidrError(f"401 for {SECRET}", remedy=f"Replace {SECRET}.")
    assert SECRET not in f"{error} {error.remedy}"


def test_secrets_are_left_out_without_the_spaces_around_them(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{SECRET}\n")
    assert redacted(f"401 for {SECRET}") == "401 for [redacted]"


@pytest.mark.parametrize(
    "quoted", [str, repr, json.dumps, quote, lambda text: json.dumps(text, ensure_ascii=False)]
)
@pytest.mark.parametrize("secret", ['pa\\ss/word"1', "pa'ss\"wörd", "p a\tss/wörd"])
def test_a_secret_is_left_out_as_messages_quote_it(quoted, secret: str, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", secret)
    assert redacted(quoted(secret)).strip("'\"") == "[redacted]"


def test_a_secret_that_is_no_unicode_is_left_out(monkeypatch):
    monkeypatch.setenv("DB_USERNAME", "me")
    monkeypatch.setenv("DB_PASSWORD", os.fsdecode(b"pass\xffword"))
    assert redacted(os.fsdecode(b"401 for pass\xffword")) == "401 for [redacted]"


def test_no_part_of_a_secret_that_another_begins_is_left(monkeypatch):
    monkeypatch.setenv("A_PASSWORD", "minio123")
    monkeypatch.setenv("B_PASSWORD", "minio123456")
    monkeypatch.setenv("C_PASSWORD", "minio123456789")
    assert redacted("minio123456, minio123, minio123456789") == ", ".join(["[redacted]"] * 3)


def test_the_name_of_mlflow_s_plugin_is_no_secret(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "kubernetes")
    monkeypatch.setenv("REGISTRY_AUTH", SECRET)
    assert redacted(f"kubernetes refused {SECRET}") == "kubernetes refused [redacted]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Basic cGlwZWxpbmU6cGFzcw==", "Authorization: Basic [redacted]"),
        ("Bearer ya29.a0AfH6SMB-x_y", "Bearer [redacted]"),
        ("bearer ya29.a0AfH6SMB-x_y", "bearer [redacted]"),
        ("Use Basic authentication.", None),
        ("HTTP Basic Authentication, or Bearer authentication", None),
        ("Basic understanding of the Bearer tokenisation", None),
    ],
)
def test_http_s_own_headers_are_left_out(text: str, shown: str | None):
    assert redacted(text) == (text if shown is None else shown)


def test_names_of_secrets():
    secret = ("HF_TOKEN", "PGPASSWORD", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "X_CREDENTIALS")
    plain = ("TOKENIZERS_PARALLELISM", "AWS_WEB_IDENTITY_TOKEN_FILE", "HOME", "SSH_AUTH_SOCK")
    assert all(map(is_secret_name, secret))
    assert not any(map(is_secret_name, plain))


def test_a_ring_of_exceptions_is_redacted_once(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    first, second = ValueError(SECRET), OSError(2, SECRET)
    first.__context__, second.__cause__ = second, first
    redact_exception(first)
    assert SECRET not in f"{first} {second}"


class Refused(Exception):
    """As the Kubernetes client's: what it says is in its attributes."""

    def __init__(self, reason: str, headers: dict[str, str]) -> None:
        self.reason, self.headers = reason, headers

    def __str__(self) -> str:
        return f"{self.reason} {self.headers}"


def _noted() -> Exception:
    error = ValueError("x")
    error.add_note(SECRET)
    return error


@pytest.mark.parametrize(
    "error",
    [
        Refused(SECRET, {}),
        Refused("no", {"token": SECRET}),
        FileNotFoundError(2, "no such file", f"/x/{SECRET}"),
        OSError(18, "cross-device link", "a", None, f"/x/{SECRET}"),
        CalledProcessError(1, ["git", "clone", SECRET]),
        ExceptionGroup("two", [ValueError("x"), ExceptionGroup("y", [KeyError(SECRET)])]),
        ExceptionGroup("one", deque([KeyError(SECRET)])),
        ConnectionError(Refused(SECRET, {})),
        Refused("no", {SECRET: "x"}),
        ValueError({SECRET}, frozenset([SECRET])),
        ValueError(b"\xff" + SECRET.encode()),
        FileNotFoundError(2, "no such file", f"/x/{SECRET}".encode()),
        ImportError(SECRET),
        SyntaxError("bad", ("x.py", 1, 1, f"key = {SECRET}")),
        NoSuchResource(ref=SECRET),
        PointerToNowhere(ref=SECRET, resource=Resource.opaque({})),
        PointerToNowhere(ref=[SECRET], resource=Resource.opaque({})),
        _noted(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_traceback_shows_no_secret_wherever_an_exception_holds_it(error, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert SECRET in "".join(format_exception(error))
    redact_exception(error)
    assert SECRET not in "".join(format_exception(error))


def test_a_fault_of_the_redaction_itself_is_not_passed_over(monkeypatch):
    def faulty(text: str) -> str:
        return text if text != "/x" else text + None  # type: ignore[operator]

    monkeypatch.setattr("lidr.components.shared.core.redaction.redacted", faulty)
    with pytest.raises(TypeError, match="NoneType"):
        redact_exception(FileNotFoundError(2, "no such file", "/x"))


def test_a_whole_file_that_is_not_text_is_left_out():
    error = UnicodeDecodeError("utf-8", b"key" * (1 << 20), 0, 1, "bad")
    redact_exception(error)
    assert (error.object, error.args[1]) == (b"[redacted]", b"[redacted]")


def test_a_list_that_holds_itself_is_no_trap():
    error = ValueError("wrong")
    held: list[object] = []
    held.append(held)
    error.held = held  # type: ignore[attr-defined]
    redact_exception(error)
    assert str(error) == "wrong"


def test_a_key_of_lower_case_and_hyphens_is_redacted():
    assert redacted("Bearer sk-abcdefghij-klmnop") == "Bearer [redacted]"
