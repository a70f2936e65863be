"""Many residents in the place of one, for tests that need consents and do not mind whose.

A resident has one consent in force for each policy; so each consent of some folk is another person's.
"""

from typing import Any

from policies.consents.bundle import Bundle
from policies.policy_document import Policy
from tests.kit.towns.running import Resident, consent_of
from tests.kit.towns.toy_town import MOBILITY


class Folk:
    """As many residents as consents are wanted; all of them are enrolled together."""

    def __init__(self, count: int = 30) -> None:
        self.people = [Resident() for _ in range(count)]
        self._fresh = iter(self.people)
        self._signers: dict[str, Resident] = {}

    def consent(self, to: Policy = MOBILITY, **how: Any) -> Bundle:
        """Have the next one sign a consent."""
        person = next(self._fresh, None)
        assert person is not None, "more consents than folk: let there be more of them"
        bundle = person.consent(to, **how)
        self._signers[consent_of(bundle)] = person
        return bundle

    def who(self, bundle: Bundle) -> Resident:
        """Return who signed a consent."""
        return self._signers[consent_of(bundle)]

    def revocation(self, bundle: Bundle, grant: int, to: Policy = MOBILITY, **how: Any) -> dict[str, Any]:
        """Have its signer sign the revocation of a consent."""
        return self.who(bundle).revocation(bundle, grant, to, **how)
