"""Time zones: what the local day of a moment is must be the same for everyone who judges the ledger.

A ``grant`` ends with a local day, and a budget's window is one: the rules of the town's zone are rules of the ledger.
They come from one place alone, the ``tzdata`` package, in the very version that this Musubi names (``pyproject.toml``):
never from the machine, whose own folder of zones may be years old, and no setting of it (``PYTHONTZPATH``) matters.
With another version of the package nothing is judged.
"""

import re
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

from ledger.errors import Malformed, UpgradeNeeded

ZONES = "2026f"
"""The version of the IANA database whose zones count. It changes with the dependency in ``pyproject.toml``."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z][A-Za-z0-9_+-]{0,31}){0,2}")


@cache
def time_zone_of(name: str) -> ZoneInfo:
    """Return the zone of an IANA name, such as ``Asia/Tokyo``; raise Malformed for any other text.

    Raises UpgradeNeeded where another version of the zones is installed: what days follow from it is no evidence.
    """
    if tzdata.IANA_VERSION != ZONES:
        raise UpgradeNeeded(f"Time zones of {tzdata.IANA_VERSION} are installed, not {ZONES}: install Musubi anew.")
    if _NAME.fullmatch(name):
        try:
            with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
                return ZoneInfo.from_file(file, key=name)
        except (OSError, ValueError):
            pass  # unknown; a folder of zones; a file that is no zone
    raise Malformed("The time zone is not known by that name.")
