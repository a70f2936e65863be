"""What comes back from a service, or from something on the way to it, is an answer or an error in a sentence."""

import httpx
import pytest

from ledger.errors import BudgetExceeded, Malformed, Unavailable
from trust.client.http import HttpAnswer, call
from trust.runtime.http_clients import open_http
from trust.runtime.problems import MEDIA_TYPE, problem

PROBLEM = problem(BudgetExceeded("policy", asked=2, left=1))


def got(response: httpx.Response | Exception) -> HttpAnswer:
    """Make one call that is answered so."""

    def answer(_: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    with httpx.Client(base_url="http://service.test", transport=httpx.MockTransport(answer)) as client:
        return call(client, "GET", "/v1/policies")


def test_an_answer_is_given_back_and_the_services_own_problem_is_raised() -> None:
    assert got(httpx.Response(200, text="yes")).text == "yes"
    with pytest.raises(BudgetExceeded) as refused:
        got(httpx.Response(403, json=PROBLEM, headers={"content-type": MEDIA_TYPE}))
    assert (refused.value.asked, refused.value.left, refused.value.account) == (2, 1, "policy")


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(502, text="<html>"), "status 502"),
        (httpx.Response(502, text="<html>", headers={"content-type": MEDIA_TYPE}), "status 502"),
        (httpx.Response(302, headers={"location": "http://elsewhere.test"}), "status 302"),
        (httpx.ConnectError("refused"), "does not answer"),
        (httpx.ReadTimeout("late"), "does not answer"),
        (httpx.ProxyError("403 Forbidden for user:secret"), "The proxy does not let the call through"),
    ],
)
def test_what_is_no_answer_of_the_service_is_unavailable(response: httpx.Response | Exception, said: str) -> None:
    with pytest.raises(Unavailable, match=said) as error:
        got(response)
    assert "secret" not in error.value.message


@pytest.mark.parametrize("proxy", ["proxy:3128", "gopher://proxy", "http://proxy:port"])
def test_an_address_that_is_none_is_malformed(proxy: str) -> None:
    with pytest.raises(Malformed, match="no http or https address"):
        open_http("http://service.test", seconds=1, proxy=proxy)
