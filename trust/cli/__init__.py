"""The command line, ``musubi``.

Every command has ``--help`` with an example. An error is one sentence that says what to do, on standard error, and an
exit code of its own (``trust.runtime.problems``); with ``--json`` it is the problem document instead, on standard error
too.

What stands here is imported by every call, also for ``--help``, ``--version`` and completion: so it imports only what
these need. A command brings what it needs itself.
"""

import sys
from typing import Any, NoReturn

import click

from ledger.errors import BudgetExceeded, MusubiError, Unavailable
from trust.cli.lazy_group import LazyGroup
from trust.cli.streams import lasting_output
from trust.runtime.core_dumps import forbid_core_dumps

AS_JSON = "trust.cli.json"
COMMANDS = {
    "ask": ("trust.cli.asking:ask", "Ask a question in SQL; the price comes first."),
    "audit": ("trust.cli.auditing:audit", "Check everything that a ledger promises."),
    "audit verify-evidence": (
        "trust.cli.auditing:verify_evidence",
        "Check a file that should convict a log, or its operator, on its own.",
    ),
    "backup": ("trust.cli.operator.backups:backup", "Take a backup of a service or of a node into the new folder OUT."),
    "demo": ("trust.cli.demo.town:demo", "Tell Musubi's story with a real town."),
    "erase": (
        "trust.cli.steward.erasure:erase",
        "Have the record of the consent at INDEX destroyed, by order of an authority.",
    ),
    "fsck": ("trust.cli.operator.fsck:fsck", "Check that a service's stored log is whole."),
    "identity": (
        "trust.cli.identity:identity",
        "Be an identity provider: do for residents what needs no key of theirs.",
    ),
    "keys": ("trust.cli.operator.keys:keys", "Make and show an organisation's keys."),
    "log": ("trust.cli.operator.log:log", "The ledger's log as plain files."),
    "log-key": ("trust.cli.steward.log_keys:log_key", "Have the log sign with its next key."),
    "member": ("trust.cli.steward.members:member", "Have an organisation join, change its keys, or leave."),
    "node": ("trust.cli.operator.processes:node", "Run a holder's node, next to its data."),
    "node check": (
        "trust.cli.operator.node_check:check",
        "Show what a node makes of its files: rows, customers, and each value that is not read.",
    ),
    "node link": (
        "trust.cli.operator.node_links:link",
        "Link a customer of the holder's with a resident's device.",
    ),
    "node local": (
        "trust.cli.operator.node_local:local",
        "Offer the holder's page, and linking for the holder's own site, on this machine alone.",
    ),
    "node page": ("trust.cli.operator.node_local:page", "Print a link to the holder's page, good once."),
    "place": (
        "trust.cli.places:place",
        "Make your place: a folder with the service's address, what you pin, and your own key.",
    ),
    "play": ("trust.cli.demo.play:play", "In a demo town: play the offices that a resident goes to."),
    "policy": ("trust.cli.steward.policy:policy", "Check, sign and publish policies."),
    "resident": ("trust.cli.resident.consents:resident", "See your consents and their uses; give, take back."),
    "restore": ("trust.cli.operator.backups:restore", "Restore a backup of a service or of a node into DIR."),
    "rules": ("trust.cli.steward.rules:rules", "See by which rules the ledger goes, and have it go on by newer ones."),
    "serve": ("trust.cli.operator.processes:serve", "Run the service."),
    "up": ("trust.cli.demo.town:up", "Run a whole town on this machine."),
    "witness": ("trust.cli.operator.processes:witness", "Run a witness (C2SP tlog-witness)."),
}


class _Musubi(LazyGroup):
    """Turns errors of the tree into one sentence and their exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line; what it says goes to streams that never end it in the middle."""
        with lasting_output() as output:
            try:
                return super().main(*args, **options)
            except SystemExit as ended:
                sys.stdout.flush() if sys.stdout is not None else None
                if output.is_lost and not ended.code:
                    _end(
                        Unavailable(
                            f"What this command printed could not be written: {output.reason}. What it was to do is done."
                        ),
                        as_json=False,
                    )
                raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep in mind whether machines read what is printed; the demo's ``--json`` is a file."""
        ctx.meta[AS_JSON] = "--json" in args and "demo" not in args
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take two words for one command where one has such a name: ``audit verify-evidence`` beside ``audit LOG``."""
        two = " ".join(args[:2])
        return super().resolve_command(ctx, [two, *args[2:]] if two in self.listed else args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Whatever it is, it may come to hold a key, a seed or rows."""
        forbid_core_dumps()
        try:
            return super().invoke(ctx)
        except MusubiError as error:
            _end(error, as_json=ctx.meta[AS_JSON])
        except click.UsageError as error:
            raise click.UsageError(_shown(error), error.ctx) from None
        except click.ClickException as error:
            raise click.ClickException(_shown(error)) from None
        except OSError as error:
            if error.filename is None or error.strerror is None:
                raise
            reason = f"'{error.filename}' cannot be read or written: {error.strerror.lower()}. Check its name and permissions."
            _end(Unavailable(reason), as_json=ctx.meta[AS_JSON])


def _shown(error: click.ClickException) -> str:
    """Return click's own message; it may name what somebody else has written, such as a policy's holders."""
    from trust.runtime.foreign_text import visible  # noqa: PLC0415 - nothing went wrong, mostly

    return visible(error.format_message(), lines=True)


def _end(error: MusubiError, *, as_json: bool) -> NoReturn:
    """Say what went wrong, and end with the error's own exit code."""
    from trust.cli.terminal import say, say_json  # noqa: PLC0415 - nothing went wrong, mostly
    from trust.runtime.problems import kind_of, problem  # noqa: PLC0415

    if as_json:
        say_json(problem(error), err=True)
    else:
        say("musubi: {}", _sentence(error), err=True, whole_line=True)
    sys.exit(kind_of(error).exit_code)


def _sentence(error: MusubiError) -> str:
    """Return an error's message; amounts are in rho, as everywhere else that people read them."""
    if not isinstance(error, BudgetExceeded):
        return error.message
    from trust.cli.terminal import nano  # noqa: PLC0415

    costs = f"The question costs {nano(error.asked)}, but the account '{error.account}' has {nano(error.left)} left."
    at = error.details.get("refused_at")
    return costs if at is None else f"{costs} The refusal is in the ledger at index {at}."


@click.group(
    cls=_Musubi,
    listed=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="musubi")
def main() -> None:
    """Musubi: a data trust that a city, its firms and its residents run together.

    \b
    Try:  musubi demo
          musubi up towns/momijidai
    """
