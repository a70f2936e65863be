"""Time zones: what the local day of a moment is must be the same for everyone who judges the ledger.

A ``grant`` ends with a local day, and a budget's window is one: the rules of the town's zone are rules of the ledger.
They come from one place alone, the ``tzdata`` package, in the very version that this Musubi names (``pyproject.toml``):
never from the machine, whose own folder of zones may be years old, and no setting of it (``PYTHONTZPATH``) matters.
"""

import re
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from ledger.errors import Malformed

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z][A-Za-z0-9_+-]{0,31}){0,2}")


@cache
def time_zone_of(name: str) -> ZoneInfo:
    """Return the zone of an IANA name, such as ``Asia/Tokyo``; raise Malformed for any other text."""
    if _NAME.fullmatch(name):
        try:
            with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
                return ZoneInfo.from_file(file, key=name)
        except (OSError, ValueError):
            pass  # unknown; a folder of zones; a file that is no zone
    raise Malformed("The time zone is not known by that name.")
