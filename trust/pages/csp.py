"""What a page may do in a browser: Content-Security-Policies (CSP level 3) and the other security headers, in one home.

A page here carries no script and no style of its own and loads nothing from elsewhere; ``page_policy`` says so. The
exception is a page that is one file, works from a disk too, and has its script and style within:
``one_file_policy`` allows exactly those two, by their hashes, and no connection at all.
"""

import base64
import hashlib

NO_FRAMES = "frame-ancestors 'none'"
"""Nobody shows a page inside another. Only a header can say it: browsers pass over it in a page's own ``meta``
element."""


def page_policy(script: str = "'none'") -> str:
    """Return the policy of a page with the shared styles; ``script`` is ``'self'`` where it needs modules of ours."""
    return (
        f"default-src 'none'; script-src {script}; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"form-action 'self'; {NO_FRAMES}"
    )


def one_file_policy(script: str, style: str) -> str:
    """Return the policy of a page that works alone, for its ``meta`` element: this script, this style, nothing else."""
    return (
        f"default-src 'none'; script-src {_hash_source(script)}; style-src {_hash_source(style)}; img-src data:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def security_headers(policy: str) -> dict[str, str]:
    """Return what is sent with every page and static file: its policy, and what holds for all of them."""
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
