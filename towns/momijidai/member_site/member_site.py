"""A sample of a holder's own member site: a customer who is logged in there is linked with their own device.

It is what もみじ交通 might have, at its smallest: Python's standard library alone, and of Musubi nothing but the HTTP
interface that the firm's node has on the same machine (docs/how-to/link-customers.md). Take from it what you need.

    python towns/momijidai/member_site/member_site.py --node http://127.0.0.1:8790 --secret node/keys/site.key

What matters in it:

- The customer number comes from the session, and never from what the browser sends with "link me".
- The node's secret stays in this program. The browser talks to this site alone, never to the node.
- The customer number goes to the node in a body: no address, and so no log, has it.

The log-in is made up (a number, and no password). Sessions are in memory: this is a sample.
"""

import argparse
import html
import json
import secrets
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

WORDS = {
    "ja": {
        "title": "もみじ交通 会員ページ",
        "log-in": "ログイン",
        "number": "会員番号",
        "hello": "会員番号 {} でログインしています。",
        "not-linked": "もみじデータ信託とは、まだつながっていません。",
        "is-linked": "もみじデータ信託とつながっています。",
        "link": "つなぐ",
        "relink": "新しい端末につなぎなおす",
        "why": "つなぐと、あなたが同意した使いみちにかぎり、あなたの乗車の記録も数えられるようになります。"
        "会員番号がこの会社の外に出ることはありません。",
        "step-1": "1. この一行を、あなたの端末に写してください。15分のあいだ使えます。",
        "step-2": "2. 端末に出た答えを、ここに貼りつけてください。",
        "answer": "端末の答え",
        "send": "送る",
        "done": "つながりました",
        "done-more": "これで終わりです。同意は、あなたの端末でいつでもあげたり取り消したりできます。",
        "failed": "つながりませんでした",
        "old": "時間が過ぎました。もう一度「つなぐ」からはじめてください。",
        "used": "その端末は、ほかの会員番号とつながっているか、新しい端末に替わっています。",
        "wrong": "この答えは、この一行への答えではありません。はじめからもう一度お試しください。",
        "later": "今はつなげません。少し待ってから、もう一度送ってください。",
        "log-out": "ログアウト",
        "back": "もどる",
    },
    "en": {
        "title": "Momiji Bus, members' page",
        "log-in": "Log in",
        "number": "Customer number",
        "hello": "You are logged in as customer {}.",
        "not-linked": "You are not linked with the Momiji data trust yet.",
        "is-linked": "You are linked with the Momiji data trust.",
        "link": "Link",
        "relink": "Link a new device instead",
        "why": "Once linked, your rides are counted too, for the uses that you agree to and no others. "
        "Your customer number never leaves this company.",
        "step-1": "1. Copy this line to your device. It is good for 15 minutes.",
        "step-2": "2. Paste your device's answer here.",
        "answer": "Your device's answer",
        "send": "Send",
        "done": "You are linked",
        "done-more": "That is all. On your device you can agree, and take it back, at any time.",
        "failed": "You are not linked",
        "old": "The time has run out. Begin again with “Link”.",
        "used": "That device is linked with another customer number, or a newer device has taken its place.",
        "wrong": "This is no answer to this line. Please begin again.",
        "later": "Linking does not work just now. Wait a little, and send it again.",
        "log-out": "Log out",
        "back": "Back",
    },
}
REASONS = {"clock-skew": "old", "replayed": "used", "consent-mismatch": "wrong", "signature-invalid": "wrong"}
"""What the node's problem codes mean to a customer; the others are "later", or "wrong" for a body that is no answer."""
MOST_BYTES = 16 * 1024
SESSION = "session"
STYLE = """
:root { color-scheme: light dark; font: 112.5%/1.8 "BIZ UDPGothic", "Noto Sans JP", system-ui, sans-serif; }
body { max-width: 40rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
input, textarea, button { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem .8rem; margin: .3rem 0 1rem; }
button { width: auto; min-height: 2.75rem; font-weight: 700; cursor: pointer; }
nav { display: flex; gap: 1rem; justify-content: flex-end; } nav a { padding: .5rem; }
:focus-visible { outline: .2rem solid #1c4a7d; outline-offset: .2rem; }
@media (prefers-color-scheme: dark) { :focus-visible { outline-color: #a5ccf7; } a { color: #a5ccf7; } }
"""


class NodeSaysNo(Exception):
    """The node has answered with a problem (RFC 9457): its code."""


class Node:
    """The firm's node, at its address on this machine; ``secret`` is what stands in its keys/site.key."""

    def __init__(self, address: str, secret: str) -> None:
        self._address = address
        self._secret = secret

    def ask(self, path: str, **said: str) -> dict[str, object]:
        """POST a JSON object and return the answer; raise NodeSaysNo with the problem's code."""
        headers = {"Authorization": f"Bearer {self._secret}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, json.dumps(said).encode(), headers)  # noqa: S310 - our own node
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                raise NodeSaysNo(str(json.load(error).get("code", ""))) from None
        except OSError:
            raise NodeSaysNo("unavailable") from None


class MemberSite(ThreadingHTTPServer):
    """The site: its node, and who is logged in, by session."""

    daemon_threads = True

    def __init__(self, port: int, node: Node) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.node = node
        self.customers: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: MemberSite
    timeout = 30

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's own name
        """Log nothing: a sample has no use for it."""

    @property
    def customer(self) -> str | None:
        """The customer who is logged in."""
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(SESSION)
        return None if morsel is None else self.server.customers.get(morsel.value)

    @property
    def words(self) -> dict[str, str]:
        """The words of the reader's language: as the address says, else the browser; Japanese first."""
        asked = parse_qs(urlsplit(self.path).query).get("lang", [""])[0]
        said = self.headers.get("Accept-Language", "").strip().lower()
        return WORDS.get(asked) or WORDS["en" if said.startswith("en") else "ja"]

    @property
    def language(self) -> str:
        """Its tag."""
        return "en" if self.words is WORDS["en"] else "ja"

    def do_GET(self) -> None:
        """Show the front page: the log-in, or whether one is linked."""
        customer = self.customer
        if customer is None:
            self._show(self._log_in())
            return
        try:
            is_linked = bool(self.server.node.ask("/v1/links/status", customer=customer)["linked"])
        except NodeSaysNo:
            self._show(f"<p role='alert'>{self.words['later']}</p>{self._button('log-out')}")
            return
        w = self.words
        hello = w["hello"].format(html.escape(customer))
        state, begin = ("is-linked", "relink") if is_linked else ("not-linked", "link")
        self._show(f"<p>{hello} {w[state]}</p><p>{w['why']}</p>{self._button('link', begin)}{self._button('log-out')}")

    def do_POST(self) -> None:
        """Log in or out, begin to link, or send the device's answer. Another site's form is refused."""
        path = urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        origin = self.headers.get("Origin")
        if length > MOST_BYTES or (origin is not None and urlsplit(origin).netloc != self.headers.get("Host")):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        form = {name: values[0].strip() for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        customer = self.customer
        if path == "/log-in" and form.get("number"):
            session = secrets.token_urlsafe(32)
            self.server.customers[session] = form["number"]
            self._go_home(f"{SESSION}={session}; HttpOnly; SameSite=Strict; Path=/")
        elif path == "/log-out":
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(SESSION)
            self.server.customers.pop(morsel.value if morsel else "", None)
            self._go_home(f"{SESSION}=; Max-Age=0; Path=/")
        elif path == "/link" and customer is not None:
            self._begin(customer)
        elif path == "/answer" and customer is not None:
            self._end(customer, form.get("link", ""))
        else:
            self._go_home()

    def _begin(self, customer: str) -> None:
        """Have the node make a challenge, and show it."""
        w = self.words
        try:
            line = html.escape(str(self.server.node.ask("/v1/links/challenges", customer=customer)["challenge"]))
        except NodeSaysNo:
            self._show(f"<p role='alert'>{w['later']}</p>{self._back()}")
            return
        self._show(
            f"<h2>{w['link']}</h2><p id='one'>{w['step-1']}</p><textarea id='challenge' rows='4' readonly"
            f" aria-labelledby='one'>{line}</textarea>"
            f"<form method='post' action='/answer?lang={self.language}'><p>{w['step-2']}</p>"
            f"<label for='link'>{w['answer']}</label><textarea id='link' name='link' rows='6' required autocomplete='off'"
            f" spellcheck='false'></textarea><button>{w['send']}</button></form>{self._back()}"
        )

    def _end(self, customer: str, link: str) -> None:
        """Give the node the device's answer, and say what came of it."""
        w = self.words
        try:
            self.server.node.ask("/v1/links", customer=customer, link=link)
        except NodeSaysNo as said:
            code = str(said)
            reason = REASONS.get(code, "wrong" if code == "malformed" else "later")
            self._show(f"<div role='alert'><h2>{w['failed']}</h2></div><p>{w[reason]}</p>{self._back()}")
        else:
            self._show(f"<div role='status'><h2>{w['done']}</h2></div><p>{w['done-more']}</p>{self._back()}")

    def _log_in(self) -> str:
        w = self.words
        return (
            f"<form method='post' action='/log-in?lang={self.language}'><label for='number'>{w['number']}</label>"
            f"<input id='number' name='number' required autocomplete='username'><button>{w['log-in']}</button></form>"
        )

    def _button(self, path: str, name: str | None = None) -> str:
        return f"<form method='post' action='/{path}?lang={self.language}'><button>{self.words[name or path]}</button></form>"

    def _back(self) -> str:
        return f"<p><a href='/?lang={self.language}'>{self.words['back']}</a></p>"

    def _go_home(self, cookie: str = "") -> None:
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"/?lang={self.language}")
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _show(self, content: str) -> None:
        title = self.words["title"]
        page = (
            f"<!doctype html><html lang='{self.language}'><head><meta charset='utf-8'>"
            f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{title}</title>"
            f"<style>{STYLE}</style></head><body><header><nav aria-label='言語 / Language'>"
            f"<a href='/?lang=ja' lang='ja'>日本語</a><a href='/?lang=en' lang='en'>English</a></nav></header>"
            f"<main><h1>{title}</h1>{content}</main></body></html>"
        ).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        )
        self.send_header("Referrer-Policy", "same-origin")  # by no-referrer a form would have no Origin
        self.end_headers()
        self.wfile.write(page)


def main() -> None:
    """Run the site until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A sample member site, which links its customers through the node.")
    parser.add_argument("--node", default="http://127.0.0.1:8790", help="the node's local interface")
    parser.add_argument("--secret", type=Path, required=True, help="the file keys/site.key of the node, or a copy")
    parser.add_argument("--port", type=int, default=8795)
    said = parser.parse_args()
    site = MemberSite(said.port, Node(said.node, said.secret.read_text("ascii").strip()))
    print(f"http://127.0.0.1:{site.server_port}/")
    sys.stdout.flush()
    try:
        site.serve_forever()
    except KeyboardInterrupt:
        site.server_close()


if __name__ == "__main__":
    main()
