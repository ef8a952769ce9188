"""What the images are made of: licences, known vulnerabilities, and who is asked about them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from images import audit, licences
from images.licences import RULES, exception_for, is_allowed, locked, packages

PROPRIETARY = "Classifier: License :: Other/Proprietary License"
MIT = "Classifier: License :: OSI Approved :: MIT License"
NOT_COMMERCIAL = "Classifier: License :: Free for non-commercial use"
APACHE = "Classifier: License :: OSI Approved :: Apache Software License"
GPL = "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)"


def test_every_licence_is_allowed_or_has_its_reason():
    found = packages()
    assert len(found) > 300
    assert [f"{each.name}: {each.licence}" for each in found if not each.allowed] == []


def test_no_entry_is_out_of_date():
    """An exception is for a package that is there, and that needs it."""
    used = {exception_for(each.name)[0] for each in packages() if each.reason}
    assert used == set(RULES["exceptions"])
    installed = {each.name for each in packages() if each.version}
    assert set(RULES["elsewhere"]) <= locked() - installed
    assert all(rule["licence"] and rule["reason"] for rule in RULES["exceptions"].values())


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("(MIT OR GPL-3.0-only) AND Apache-2.0", False),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("", False),
    ],
)
def test_licences_are_decided(licence: str, allowed: bool):
    assert is_allowed(licence) is allowed


@pytest.mark.parametrize(
    ("name", "facts", "licence", "allowed"),
    [
        ("huey", ["License-Expression: AGPL-3.0-or-later"], "AGPL-3.0-or-later", False),
        ("huey", ["License-Expression: MIT"], "MIT", True),
        ("huey", [], "MIT", True),
        ("chardet", ["License: AGPL-3.0-only"], "AGPL-3.0-only", False),
        ("nvidia-new", ["License-Expression: LicenseRef-NVIDIA-Proprietary"], "NVIDIA's", True),
        ("nvidia-new", ["License-Expression: GPL-3.0-only"], "GPL-3.0-only", False),
        ("new", ["License: MIT", PROPRIETARY], "Other/Proprietary License", False),
        ("new", [MIT, PROPRIETARY], "Other/Proprietary License", False),
        ("new", [NOT_COMMERCIAL, MIT], "Free for non-commercial use", False),
        ("new", ["License: ISC", "Classifier: License :: OSI Approved"], "ISC", True),
        ("new", [MIT, APACHE], "MIT OR Apache-2.0", True),
        ("new", [GPL], "GNU General Public License v3 (GPLv3)", False),
        ("new", [], "", False),
    ],
)
def test_the_licence_that_a_package_states_decides(
    monkeypatch, tmp_path, name: str, facts: list[str], licence: str, allowed: bool
):
    """An exception excuses what it names, and says what is missing; it hides nothing."""
    folder = tmp_path / f"{name.replace('-', '_')}-999.dist-info"
    folder.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 999", *facts]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = [each for each in packages() if each.name == name]
    assert (found.version, found.licence, found.allowed) == ("999", licence, allowed)


def test_a_package_that_is_not_allowed_fails_the_list(monkeypatch, capsys):
    monkeypatch.setitem(RULES, "exceptions", {})
    assert licences.main() == 1
    told = capsys.readouterr()
    assert "NOT ALLOWED  chardet" in told.out
    assert "nvidia-cublas" in told.err


FOUND = {
    "dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {
            "name": "broken",
            "version": "2.0",
            "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}],
        },
    ]
}
"""As pip-audit writes it."""


def program(folder: Path, body: str) -> str:
    file = folder / "pip-audit"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def says(folder: Path, found: object, code: int = 0) -> str:
    (folder / "answer.json").write_text(json.dumps(found))
    return program(folder, f"cat {folder}/answer.json; exit {code}")


@pytest.fixture(autouse=True)
def one_lock(monkeypatch):
    monkeypatch.setattr(audit, "LOCKS", audit.LOCKS[:1])


def test_every_lock_is_audited():
    assert {path.name for path in audit.ROOT.glob("images/*/*.lock")} >= {"requirements.lock"}


def test_what_is_known_is_told(tmp_path: Path, capsys):
    assert audit.main([says(tmp_path, FOUND, 1)]) == 1
    out = capsys.readouterr().out
    assert "2 packages, 1 known vulnerabilities" in out
    assert "broken 2.0: PYSEC-1 CVE-1, fixed in 2.1" in out


def test_nothing_known_is_well(tmp_path: Path):
    assert audit.main([says(tmp_path, {"dependencies": FOUND["dependencies"][:1]})]) == 0


@pytest.mark.parametrize(
    "body",
    [
        "echo 'Failed to resolve api.osv.dev' >&2; exit 1",
        "echo '' ; exit 0",
        "echo 'ERROR: no answer' >&2; exit 0",
        'echo \'{"dependencies": [{"name": "x", "skip_reason": "not found"}]}\'',
    ],
)
def test_no_answer_is_no_good_answer(tmp_path: Path, capsys, body: str):
    assert audit.main([program(tmp_path, body)]) == 2
    assert "cannot be audited" in capsys.readouterr().err


def test_a_missing_program_is_told(tmp_path: Path, capsys):
    assert audit.main([str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
