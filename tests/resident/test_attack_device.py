"""A resident's device beside a service that proves another entry than the one that was signed."""

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from ledger import jws
from ledger.errors import ProofInvalid
from policies.consents.bundle import Bundle, commitment
from policies.consents.consent import General
from policies.policy_document import document_sha256
from policies.rules import NEWEST_RULES
from tests.kit.towns.toy_town import ORIGIN, scarce
from trust.client.wire import MyConsent, Revoked
from trust.resident import device as resident_device
from trust.resident import giving as resident_giving

SEED = b"s" * 32
POLICY = scarce()


class Service:
    """Answers a device; ``lie`` changes the entry that it proves."""

    trust = SimpleNamespace(origin=ORIGIN)
    granted = e.Grant(
        at=1,
        consent=hashlib.sha256(SEED).hexdigest(),
        policy=POLICY.id,
        version=1,
        policy_sha256=document_sha256(POLICY),
        until=POLICY.until[0],
        yearly_cap=POLICY.yearly_caps[0],
        commitment="00" * 32,
    )
    """The consent that it shows as one's own."""

    def __init__(self, **lie: Any) -> None:
        self._lie = lie
        self._entry: e.AnyEntry | None = None

    def rules(self) -> int:
        """By which rules the ledger goes."""
        return NEWEST_RULES

    def policies(self) -> dict[str, Any]:
        """The policies in force."""
        return {POLICY.id: POLICY}

    def policy(self, sha256: str) -> Any:
        """One policy document by its hash."""
        assert sha256 == document_sha256(POLICY)
        return POLICY

    def grant(self, bundles: list[Bundle]) -> list[int]:
        """Take a consent in."""
        said = jws.read_unverified(bundles[0].leaves[0].body, General)
        self._entry = e.Grant(
            at=1,
            consent=said.consent,
            policy=said.policy,
            version=said.version,
            policy_sha256=said.policy_sha256,
            until=said.until,
            yearly_cap=said.yearly_cap,
            commitment=commitment(bundles[0]),
        )
        return [7]

    def my_consents(self, seed: bytes) -> list[MyConsent]:
        """One's own consents."""
        consent = hashlib.sha256(seed).hexdigest()
        known: dict[str, Any] = {
            "policy": POLICY.id,
            "version": 1,
            "until": POLICY.until[0],
            "yearly_cap": POLICY.yearly_caps[0],
        }
        sha256 = document_sha256(POLICY)
        return [MyConsent(index=7, consent=consent, policy_sha256=sha256, holders=["clinic"], ended_by=None, **known)]

    def revoke(self, grant: int, bundle: Bundle, granted: Bundle | None = None) -> Revoked:
        """End a consent."""
        assert granted is None  # it has its own
        self._entry = e.Revoke(at=2, grant=grant, reason="withdrawn", commitment=commitment(bundle))
        return Revoked(index=8, operator=None, promise="…")

    def prove(self, index: int) -> Any:
        """Prove an entry: the one that was made, or a lie."""
        if index == 7 and not isinstance(self._entry, e.Grant):
            return SimpleNamespace(index=index, entry=self.granted)
        assert self._entry is not None
        return SimpleNamespace(index=index, entry=structs.replace(self._entry, **self._lie))


class FirstTime(Service):
    """Answers a device that has given no consent before."""

    def my_consents(self, seed: bytes) -> list[MyConsent]:  # noqa: ARG002 - as the client has it
        """One's own consents."""
        return []


def grant(service: Any) -> int:
    chosen: dict[str, Any] = {"holders": ["clinic"], "until": POLICY.until[0], "yearly_cap": POLICY.yearly_caps[0]}
    return resident_giving.grant(service, SEED, POLICY, language="ja", shown_at=1, **chosen).index


def test_a_device_takes_the_entry_that_it_signed() -> None:
    assert grant(FirstTime()) == 7
    ended = resident_device.revoke(Service(), SEED, 7)  # type: ignore[arg-type]
    assert (ended.revoked.index, ended.revoked.promise) == (8, "…")
    assert "whose the promise is" in ended.doubt


@pytest.mark.parametrize(
    "lie",
    [
        {"yearly_cap": POLICY.yearly_caps[1]},
        {"until": POLICY.until[1]},
        {"commitment": "00" * 32},
        {"consent": "00" * 32},
        {"version": 2},
        {"replaces": 6},
    ],
    ids=str,
)
def test_a_device_refuses_a_grant_in_the_ledger_that_says_something_else(lie: dict[str, Any]) -> None:
    with pytest.raises(ProofInvalid, match="what was signed"):
        grant(FirstTime(**lie))


@pytest.mark.parametrize(
    "lie", [{"grant": 6}, {"commitment": "00" * 32}, {"reason": "lost-device"}, {"reason": "replaced"}], ids=str
)
def test_a_device_does_not_take_another_entry_for_its_revocation(lie: dict[str, Any]) -> None:
    with pytest.raises(ProofInvalid, match="ended"):
        resident_device.revoke(Service(**lie), SEED, 7)  # type: ignore[arg-type]
