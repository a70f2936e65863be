"""Addresses that people write down: one that is none is refused where it is written, and no password is ever shown."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ledger.errors import Malformed, MusubiError, NotFound
from trust.client.addresses import check_proxy_address, check_service_address, without_password
from trust.runtime.http_clients import open_http

hosts = st.sampled_from(["musubi.city.example", "127.0.0.1", "[::1]", "[::1", "a:b", "", "まち.example"])
ports = st.sampled_from(["", ":8700", ":0", ":99999", ":abc", ":"])
words = st.text(max_size=8)
addresses = st.one_of(
    st.text(max_size=40),
    st.builds("{}://{}{}{}".format, st.sampled_from(["http", "https", "HTTPS", "ftp"]), hosts, ports, words),
    st.builds("http://{}:{}@{}{}".format, words, words, hosts, ports),
)


def refusal(check: Callable[[str], str], address: str) -> str | None:
    """Return the sentence that an address is refused in, or None."""
    try:
        check(address)
    except Malformed as error:
        return error.message
    return None


@given(addresses)
@example("http://u:ge/heim@127.0.0.1:9")
@example("http://u:geheim@p:abc")
@example("http://a\xff\x7fb")
@example("http://a\udcffb")
def test_an_address_is_refused_in_a_sentence_that_does_not_repeat_it_or_a_client_opens_at_it(address: str) -> None:
    for check in (check_service_address, check_proxy_address):
        if (refused := refusal(check, address)) is not None:
            assert refused.endswith(".")
            assert len(address) < 10 or address not in refused
        elif check is check_service_address:
            httpx.Client(base_url=address).close()
        else:
            httpx.Client(proxy=address).close()


@given(words, words, st.sampled_from(["proxy.example", "[::1]"]), st.sampled_from(["", ":3128"]))
@example("0/", "", "proxy.example", "")
@example("u", "1/", "proxy.example", "")
def test_a_proxys_address_is_shown_without_its_password_and_a_services_may_have_none(
    name: str, password: str, host: str, port: str
) -> None:
    address = f"http://{name}:{password}@{host}{port}"
    try:
        check_proxy_address(address)
    except Malformed:
        assume(False)
    assert without_password(address) == f"http://{host}{port}"
    if name or password:
        with pytest.raises(Malformed, match="Leave it out"):
            check_service_address(address)


@pytest.mark.parametrize(
    ("environment", "error", "says"),
    [
        ({"SSL_CERT_FILE": "nowhere.pem"}, NotFound, "SSL_CERT_FILE"),
        ({"SSL_CERT_FILE": "none.pem"}, Malformed, "SSL_CERT_FILE"),
        ({"ALL_PROXY": "socks5://proxy.example:1080"}, Malformed, "SOCKS"),
        ({"HTTP_PROXY": "http://u:ge/heim@proxy.example"}, Malformed, "HTTP_PROXY"),
        ({"HTTPS_PROXY": "gopher://proxy.example"}, Malformed, "HTTPS_PROXY"),
    ],
)
def test_what_is_wrong_in_the_environment_is_said_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    error: type[MusubiError],
    says: str,
) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    with pytest.raises(error, match=says) as raised:
        open_http("http://service.example", seconds=1)
    assert "heim" not in raised.value.message
