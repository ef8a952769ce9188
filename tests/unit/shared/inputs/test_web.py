"""Files from web servers: whole or not at all, continued, and never another's."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.inputs.web import download
from tests.web_hosts import serving

DATA = bytes(range(256)) * 20_000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(retry, "_MAX_PAUSE", 0.02)
    monkeypatch.setenv(RETRY_VARIABLE, "5")


@pytest.fixture
def host():
    with serving() as made:
        made.files["/a.jsonl"] = DATA
        yield made


def certificate(folder: Path, *, address: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
    """Write a certificate that signs itself, as tls.pem, and return what shows it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    since = datetime.now(UTC) + timedelta(days=min(days, 0) - 1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=1 + max(days, 0)))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    kind = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, kind, serialization.NoEncryption())
    (folder / "tls.pem").write_bytes(made.public_bytes(pem) + secret)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "tls.pem")
    return tls


@pytest.mark.parametrize("fault", [500, 503, 429, "truncated"])
def test_a_download_goes_on_after_a_fault(host, tmp_path, fault):
    host.faults.extend([fault] * 2)
    download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert (tmp_path / "a").read_bytes() == DATA
    again = host.sent["/a.jsonl"] - len(DATA)
    assert 0 <= again < 3 * (1 << 16), "at most the piece that a connection broke off in"


def test_a_download_goes_on_after_any_number_of_faults_while_it_gets_further(
    host, tmp_path, monkeypatch
):
    monkeypatch.setenv(RETRY_VARIABLE, "0")  # as if each interruption came after a retry's time
    host.faults.extend(["truncated"] * 3)
    download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert (tmp_path / "a").read_bytes() == DATA
    host.faults.extend(["truncated", 503, "truncated"])
    with pytest.raises(Unavailable, match="HTTP 503"):
        download(f"{host.url}/a.jsonl", tmp_path / "b", SHA)
    assert len(host.faults) == 1


def test_a_download_continues_what_an_earlier_process_left(host, tmp_path):
    (tmp_path / "a.part").write_bytes(DATA[:1_000_000])
    download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert (tmp_path / "a").read_bytes() == DATA
    assert host.sent["/a.jsonl"] == len(DATA) - 1_000_000


@pytest.mark.parametrize("left", [b"another file's" * 100_000, DATA + b"more"])
def test_a_download_starts_over_where_what_was_left_is_of_another_file(host, tmp_path, left):
    (tmp_path / "a.part").write_bytes(left)
    download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_file_that_changed_under_its_pin_is_refused(host, tmp_path):
    host.files["/a.jsonl"] = b"changed"
    with pytest.raises(BadInput, match=r"a\.jsonl: has the SHA-256 .*, the recipe pins"):
        download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert list(tmp_path.iterdir()) == []
    assert host.starts == [("/a.jsonl", 0)], "nothing was resumed, so nothing is fetched again"


def test_a_file_that_changed_while_a_download_was_interrupted_is_fetched_anew(host, tmp_path):
    versions = [b"x" * len(DATA), DATA, DATA]

    class Files(dict[str, bytes]):
        def __getitem__(self, path: str) -> bytes:
            return versions.pop(0)

    host.files = Files({"/a.jsonl": DATA})
    host.faults.append("truncated")
    download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(("status", "remedy"), [(404, "address"), (403, r"netrc"), (410, "addr")])
def test_a_server_that_refuses_is_an_error_at_once(host, tmp_path, status, remedy):
    host.faults.append(status)
    with pytest.raises(BadInput, match=f"HTTP {status}") as raised:
        download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)
    assert remedy in raised.value.remedy
    assert not isinstance(raised.value, Unavailable)
    assert len(host.asked) == 1


def test_a_redirect_to_another_host_is_followed_without_the_login(host, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving() as other:
        other.files["/b.jsonl"] = DATA
        host.redirects["/a.jsonl"] = f"{other.url}/b.jsonl"
        download(f"{host.url.replace('127.0.0.1', 'localhost')}/a.jsonl", tmp_path / "a", SHA)
        assert host.logins and not other.logins
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("back", [False, True])
def test_a_redirect_that_is_not_encrypted_is_refused_before_the_login_goes_there(
    host, tmp_path, monkeypatch, back
):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(certificate(tmp_path)) as encrypted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
        encrypted.files["/b.jsonl"] = DATA
        encrypted.redirects["/a.jsonl"] = f"{host.url}/a.jsonl"
        if back:
            host.redirects["/a.jsonl"] = f"{encrypted.url}/b.jsonl"
        with pytest.raises(BadInput, match=r"a\.jsonl, which is not encrypted"):
            download(f"{encrypted.url}/a.jsonl", tmp_path / "a", SHA)
        assert encrypted.logins and host.asked == []
        encrypted.redirects["/a.jsonl"] = "/b.jsonl"
        download(f"{encrypted.url}/a.jsonl", tmp_path / "a", SHA)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    ("made", "trusted", "remedy"),
    [
        ({}, False, "REQUESTS_CA_BUNDLE"),
        ({"days": -9}, True, "renew it"),
        ({"days": 9, "address": "127.0.0.2"}, True, "Correct the address"),
    ],
)
def test_the_remedy_fits_what_is_wrong_with_a_certificate(
    tmp_path, monkeypatch, made, trusted, remedy
):
    tls = certificate(tmp_path, **made)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "tls.pem"))
    with serving(tls) as encrypted, pytest.raises(BadInput, match="is not trusted") as raised:
        download(f"{encrypted.url}/a.jsonl", tmp_path / "a", SHA)
    assert remedy in raised.value.remedy


def test_the_folder_without_space_is_named(host, tmp_path):
    (tmp_path / "a.part").symlink_to("/dev/full")
    with pytest.raises(BadInput, match=f"No space left.*Free space in {tmp_path},"):
        download(f"{host.url}/a.jsonl", tmp_path / "a", SHA)


def test_an_address_that_cannot_be_is_refused_at_once(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be asked for.*Correct the address"):
        download("https://host.example:84433/en.jsonl", tmp_path / "a", SHA)


def test_certificates_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(BadInput, match=r"missing.pem.*REQUESTS_CA_BUNDLE"):
        download("https://127.0.0.1:9/a.jsonl", tmp_path / "a", SHA)


def test_a_port_without_tls_is_no_untrusted_certificate(host, tmp_path, monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.2")
    with pytest.raises(Unavailable, match="does not answer"):
        download(f"{host.url}/a.jsonl".replace("http:", "https:"), tmp_path / "a", SHA)


def test_a_server_that_is_away_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0.2")
    with pytest.raises(Unavailable, match="does not answer"):
        download("http://127.0.0.1:9/a.jsonl", tmp_path / "a", SHA)
