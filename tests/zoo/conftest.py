"""Properties tell what they found, as tests do."""

import pytest

pytest.register_assert_rewrite("tests.zoo.properties")
