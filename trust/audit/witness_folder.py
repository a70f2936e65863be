"""The folder of a witness: ``witness.toml``, its keys, and which logs' keys it trusts.

Changes are read at the witness' next start. When a log is to change its key, the order matters
(``docs/how-to/rotate-the-log-key.md``): first every witness trusts the next key beside the old one, then the log
changes, then every witness removes the old one. A witness that still trusted it would cosign for a thief who has it.
"""

import json
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ledger.errors import Malformed, NotFound
from ledger.notes.ml_dsa import public_bytes
from ledger.notes.note import TYPE_COSIGNATURE, VerifierKey, check_name
from trust.files.durable import write_whole
from trust.files.keys import new_key, new_post_quantum_key

CONFIG = "witness.toml"
KEY = "witness.key"
POST_QUANTUM_KEY = "witness.pq.key"


class WitnessLog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key of a log that the witness cosigns; its name is the log's origin.

    A log may have several: a post-quantum one beside the other, or the next one before the log changes to it. A
    checkpoint needs one of them. A key that the log has laid down is to be removed: until then it is believed.
    """

    vkey: str


class WitnessFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``witness.toml``: the witness' own name (of its key, like ``witness.example/city``) and the logs it cosigns."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    logs: Annotated[list[WitnessLog], Meta(min_length=1, max_length=256)]


def make_witness(
    folder: Path, name: str, logs: list[VerifierKey], *, post_quantum: bool = False
) -> tuple[VerifierKey, ...]:
    """Make a new witness' folder with a fresh key; return its verifier key, and a post-quantum one if wanted.

    Raises NotPermitted if a key is there.
    """
    check_name(name)
    keys = [VerifierKey.cosignature(name, bytes(new_key(folder / KEY).verify_key))]
    if post_quantum:
        keys.append(VerifierKey.ml_dsa_44(name, public_bytes(new_post_quantum_key(folder / POST_QUANTUM_KEY))))
    _write_config(folder, name, logs)
    return tuple(keys)


def _write_config(folder: Path, name: str, logs: list[VerifierKey]) -> None:
    vkeys = "".join(f"[[logs]]\nvkey = {_toml(str(log))}\n" for log in logs)
    write_whole(folder / CONFIG, f"name = {_toml(name)}\n{vkeys}".encode(), mode=0o644)


def trusted_keys(folder: Path) -> list[VerifierKey]:
    """Return the keys of the logs that the witness of a folder cosigns; raise NotFound or Malformed."""
    return read_config(folder)[1]


def change_trusted_keys(folder: Path, *, add: list[VerifierKey], remove: list[VerifierKey]) -> list[VerifierKey]:
    """Have the witness of a folder trust other keys from its next start on; return them.

    Raises NotFound for a key to be removed that is not there, Malformed where no key would be left.
    """
    name, keys = read_config(folder)
    if any(key not in keys for key in remove):
        raise NotFound("The witness does not trust the key that is to be removed; list the keys to compare.")
    changed = [key for key in dict.fromkeys([*keys, *add]) if key not in remove]
    _check_log_keys(changed)
    _write_config(folder, name, changed)
    return changed


def _check_log_keys(keys: list[VerifierKey]) -> None:
    if not keys or any(key.type == TYPE_COSIGNATURE for key in keys) or len(set(keys)) != len(keys):
        raise Malformed("The logs in witness.toml have keys of type 1 or 6, at least one of them, each once.")


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # without control characters, a JSON string is a TOML string


def read_config(folder: Path) -> tuple[str, list[VerifierKey]]:
    """Return the witness' name and the log keys of ``witness.toml``; raise NotFound or Malformed."""
    try:
        file = msgspec.convert(tomllib.loads((folder / CONFIG).read_text("utf-8")), WitnessFile)
    except FileNotFoundError:
        raise NotFound("The folder has no witness.toml; it names the witness and the logs it cosigns.") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise Malformed(
            "The file witness.toml is not of its format: name = '…' and [[logs]] with vkey = '…'."
        ) from None
    check_name(file.name)
    keys = [VerifierKey.parse(log.vkey) for log in file.logs]
    _check_log_keys(keys)
    return file.name, keys
