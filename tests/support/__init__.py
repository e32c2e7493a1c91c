"""What tests share: peers, gateways, real clients, a strict reader of streams."""

import pytest

# Their assertions are tests' too: without this they would fail without a word.
pytest.register_assert_rewrite("support.course", "support.sse")
