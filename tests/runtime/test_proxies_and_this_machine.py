"""What is on this very machine is called without the proxy that the environment names, by either kind of client."""

import asyncio

import httpx
import pytest

from tests.kit.machine.web import web_server
from trust.runtime.http_clients import open_async_http, open_http

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, NOBODY)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_either_client_reaches_a_server_here_and_another_one_by_the_proxy_alone() -> None:
    async def get(url: str) -> httpx.Response:
        async with open_async_http(seconds=5) as http:
            return await http.get(url)

    with web_server(lambda *_: (200, b"here")) as url:
        with open_http(seconds=5) as http:
            assert http.get(url).text == "here"
        assert asyncio.run(get(url)).text == "here"
    with open_http(seconds=5) as http, pytest.raises(httpx.ConnectError):  # it is the proxy that is not there
        http.get("http://192.0.2.1/")
    with pytest.raises(httpx.ConnectError):
        asyncio.run(get("http://192.0.2.1/"))
