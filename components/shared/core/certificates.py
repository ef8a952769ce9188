"""A server's certificate that is not accepted: why, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""What OpenSSL says of a certificate that it does not accept, with the cause."""
_CAUSE = re.compile(r"certificate verify failed:? ([^\n]+?)\.? \(_ssl\.c")
_REMEDIES = {
    "has expired": "Ask those who run the host to renew it.",
    "not yet valid": "Set this machine's clock.",
    "mismatch": "Correct the address: it must have the name that the certificate is for.",
}
"""By words of the cause. Any other cause is taken for a signature of no known authority."""


class CertificateProblem(NamedTuple):
    """Why a certificate is not accepted, and what to do about it."""

    cause: str
    remedy: str


def certificate_problem(said: str, variable: str) -> CertificateProblem | None:
    """Return the certificate problem that an error's text reports; None if it reports none.

    Args:
        said: the error's text.
        variable: the environment variable that names the file of the authorities to trust.
    """
    if _UNTRUSTED not in said:
        return None
    cause = _CAUSE.search(said)
    fitting = (remedy for words, remedy in _REMEDIES.items() if words in said)
    return CertificateProblem(
        cause[1] if cause else "no known authority has signed it",
        next(fitting, f"Name your authority's certificates in {variable}."),
    )
