"""Proxies: the parts of their URLs, and the password that stays inside."""

import pytest

from kiroproxy.accounts.proxy import Proxy, parse_proxy


@pytest.mark.parametrize(
    ("url", "port"),
    [("http://p", 80), ("https://p", 443), ("socks5://p", 1080), ("socks5h://p:9", 9)],
)
def test_a_port_that_is_not_named_is_the_schemes_own(url: str, port: int) -> None:
    proxy = parse_proxy(url)
    assert proxy is not None
    assert (proxy.host, proxy.port) == ("p", port)


@pytest.mark.parametrize("url", ["", "direct", "DIRECT"])
def test_direct_and_nothing_are_no_proxy(url: str) -> None:
    assert parse_proxy(url) is None


def test_a_user_beside_the_url_replaces_the_one_inside() -> None:
    assert parse_proxy("http://a:b@p:1", "c", "d") == Proxy("http", "p", 1, "c", "d")
    assert parse_proxy("http://a:b%40@p:1") == Proxy("http", "p", 1, "a", "b@")


def test_the_url_survives_a_round_trip_with_its_password() -> None:
    proxy = Proxy("socks5h", "::1", 1080, "us er", "p@ss/word")
    assert parse_proxy(proxy.url(with_auth=True)) == proxy


def test_repr_and_str_show_no_password() -> None:
    proxy = Proxy("http", "p", 1, "user", "hunter2")
    assert "hunter2" not in repr(proxy) + str(proxy) + proxy.url(with_auth=False)


@pytest.mark.parametrize("url", ["ftp://p", "p:80", "http://", "http://p:x", "http://p:0"])
def test_what_is_no_proxy_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="not a proxy URL") as caught:
        parse_proxy(url)
    assert url not in str(caught.value)
