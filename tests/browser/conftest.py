"""A browser for the whole session; without one these tests are skipped."""

import pytest

from tests.browser.chromium import Chromium, find_chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    binary = find_chromium()
    if binary is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with Chromium(binary, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium
