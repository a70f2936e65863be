"""The auditor's books of used consents, beside a set."""

from hypothesis import given
from hypothesis import strategies as st

from trust.audit import seen_consents
from trust.audit.seen_consents import DiskConsents

STARTS = ["00000000", "00000001", "0000001f", "00000020", "ffffffff"]
"""Those of the first 27 bits that fall together, and some that do not."""
NAMES = st.builds(lambda start, rest: start + f"{rest:056x}", st.sampled_from(STARTS), st.integers(0, 3))


@given(st.lists(NAMES, max_size=60), st.sampled_from([1, 3, 4_096]))
def test_each_identifier_is_new_exactly_once(names: list[str], buffered: int) -> None:
    """Also where beginnings are equal, and whether what is new was written to disk before or not."""
    before, seen_consents.BUFFERED = seen_consents.BUFFERED, buffered
    seen, expected = DiskConsents(), set[str]()
    try:
        for name in names:
            assert seen.add(name, 0) == (name not in expected)
            expected.add(name)
    finally:
        seen_consents.BUFFERED = before
        seen.close()
