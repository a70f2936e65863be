"""The records behind grants and revocations: bundles, each encrypted with a key of its own.

XSalsa20-Poly1305 (NaCl secretbox). Destroying the 32-byte key (``trust.service.keys.record_keys``) destroys the record
wherever copies of it are. A record that does not open, because a bit of it or of its key has changed, is as good as
lost: whoever asks for it gets what is given for a lost one, and ``musubi fsck`` names it.
"""

from collections.abc import Iterable

import structlog
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.utils import random as random_bytes

from ledger import canonical
from ledger.errors import MusubiError
from policies.consents.bundle import Bundle
from trust.service import metrics
from trust.service.keys.record_keys import KEY_BYTES, RecordKeys

logger = structlog.get_logger()


def seal_record(bundle: bytes) -> tuple[bytes, bytes]:
    """Encrypt a bundle's canonical JSON with a fresh key; return (key, sealed bytes)."""
    key = random_bytes(KEY_BYTES)
    return key, bytes(SecretBox(key).encrypt(bundle))


def open_record(key: bytes, sealed: bytes) -> Bundle | None:
    """Decrypt a bundle, or return None where key or record is damaged. The record's own code tells any change."""
    try:
        return canonical.decode(SecretBox(key).decrypt(sealed), Bundle, "stored record")
    except (CryptoError, ValueError, TypeError, MusubiError):  # a key of another length is one that was damaged, too
        return None


async def open_records(keys: RecordKeys, rows: Iterable[tuple[int, bytes]]) -> dict[int, Bundle]:
    """Open sealed records by their index; one that was erased, lost or damaged is not among what comes back."""
    sealed = dict(rows)
    found = await keys.find(sealed)
    opened = {index: bundle for index, key in found.items() if (bundle := open_record(key, sealed[index])) is not None}
    if len(opened) < len(found):
        metrics.damaged_records.inc(len(found) - len(opened))
        logger.error("records-damaged", records=len(found) - len(opened))  # which ones, ``musubi fsck`` says
    return opened
