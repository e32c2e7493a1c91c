"""What is known of a credential's models."""

from kiroproxy.accounts.entitlement import Entitlements


def test_a_credential_may_use_what_it_was_listed_and_nothing_else() -> None:
    known = Entitlements()
    known.learn(1, ["claude-sonnet-4.5", "auto"])
    assert known.capable(1, "claude-sonnet-4.5") is True
    assert known.capable(1, "claude-opus-4.8") is False


def test_nobody_knows_of_a_credential_that_was_never_listed() -> None:
    known = Entitlements()
    known.learn(1, ["auto"])
    assert known.capable(2, "auto") is None
    assert known.capable(1, "") is None  # no model in particular


def test_an_empty_listing_takes_nothing_away() -> None:
    known = Entitlements()
    known.learn(1, ["auto"])
    known.learn(1, [])
    assert known.capable(1, "auto") is True


def test_what_is_forgotten_is_unknown() -> None:
    known = Entitlements()
    known.learn(1, ["auto"])
    known.forget(1)
    known.forget(7)
    assert known.capable(1, "auto") is None
