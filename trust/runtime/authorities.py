"""The certificate authorities that this process believes when it calls somebody over https.

To read them takes longer than most calls, so all clients of a process share what was read once. A file that is changed
is read again when the process starts anew, or when another name is given.
"""

import os
import ssl
from functools import lru_cache
from pathlib import Path

import httpx

from ledger.errors import Malformed, NotFound, Unavailable

ENVIRONMENT = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def trusted_authorities(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return whom to believe: the authorities in ``ca_file`` alone (PEM), or those that count on this machine.

    The latter are those in the file ``SSL_CERT_FILE`` or the folder ``SSL_CERT_DIR``, else the list by ``certifi``, as
    ``httpx`` reads them. Raises NotFound, Malformed or Unavailable for a file that is none.
    """
    if ca_file is not None:
        return _in_file(ca_file, "ca_file")
    return _of_machine(*(os.environ.get(name, "") for name in ENVIRONMENT))


def _in_file(path: Path, named_by: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(path))
    except FileNotFoundError:
        raise NotFound(f"There is no file '{path}' with the authority's certificates; correct {named_by}.") from None
    except ssl.SSLError:
        raise Malformed(f"The file '{path}' holds no certificate in PEM form; correct {named_by}.") from None
    except OSError:
        raise Unavailable(f"The file '{path}' cannot be read; check its permissions.") from None


@lru_cache(maxsize=4)
def _of_machine(*environment: str) -> ssl.SSLContext:
    """Read them; both variables are given, so that another environment is never answered from the cache."""
    ca_file = environment[0]
    return _in_file(Path(ca_file), ENVIRONMENT[0]) if ca_file else httpx.create_ssl_context()
