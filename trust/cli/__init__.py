"""The command line, ``musubi``.

Every command has ``--help`` with an example. An error is one sentence that says what to do, on standard error, and an
exit code of its own (``trust.runtime.problems``); with ``--json`` it is the problem document instead, on standard error
too.
"""

import json
import sys
from typing import NoReturn

import click

from ledger.errors import BudgetExceeded, MusubiError, Unavailable
from trust.cli import asking, auditing, identity, places
from trust.cli.demo import play, town
from trust.cli.operator import backups, fsck, keys, log, processes
from trust.cli.resident import agreeing as resident_agreeing
from trust.cli.resident import consents as resident
from trust.cli.resident import ending as resident_ending
from trust.cli.resident import erasure as resident_erasing
from trust.cli.resident import lost_device as lost_devices
from trust.cli.resident import promises as resident_promises
from trust.cli.resident import proofs as resident_proofs
from trust.cli.resident import receipts as resident_receipts
from trust.cli.steward import erasure as erasing
from trust.cli.steward import log_keys, members, policy, rules
from trust.cli.tables import nano
from trust.runtime.core_dumps import forbid_core_dumps
from trust.runtime.problems import kind_of, problem

AS_JSON = "trust.cli.json"


class _Musubi(click.Group):
    """Turns errors of the tree into one sentence and their exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep in mind whether machines read what is printed; the demo's ``--json`` is a file."""
        ctx.meta[AS_JSON] = "--json" in args and "demo" not in args
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take two words for one command where one has such a name: ``audit verify-evidence`` beside ``audit LOG``."""
        two = " ".join(args[:2])
        return super().resolve_command(ctx, [two, *args[2:]] if two in self.commands else args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Whatever it is, it may come to hold a key, a seed or rows."""
        forbid_core_dumps()
        try:
            return super().invoke(ctx)
        except MusubiError as error:
            _end(error, as_json=ctx.meta[AS_JSON])
        except OSError as error:
            if error.filename is None or error.strerror is None:
                raise
            reason = f"'{error.filename}' cannot be read or written: {error.strerror.lower()}. Check its name and permissions."
            _end(Unavailable(reason), as_json=ctx.meta[AS_JSON])


def _end(error: MusubiError, *, as_json: bool) -> NoReturn:
    """Say what went wrong, and end with the error's own exit code."""
    if as_json:
        click.echo(json.dumps(problem(error), ensure_ascii=False), err=True)
    else:
        click.echo(f"musubi: {_sentence(error)}", err=True)
    sys.exit(kind_of(error).exit_code)


def _sentence(error: MusubiError) -> str:
    """Return an error's message; amounts are in rho, as everywhere else that people read them."""
    if not isinstance(error, BudgetExceeded):
        return error.message
    costs = f"The question costs {nano(error.asked)}, but the account '{error.account}' has {nano(error.left)} left."
    at = error.details.get("refused_at")
    return costs if at is None else f"{costs} The refusal is in the ledger at index {at}."


@click.group(cls=_Musubi, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="musubi")
def main() -> None:
    """Musubi: a data trust that a city, its firms and its residents run together.

    \b
    Try:  musubi demo
          musubi up towns/momijidai
    """


for command in (
    town.up,
    town.demo,
    play.play,
    processes.serve,
    processes.node,
    processes.witness,
    auditing.audit,
    auditing.verify_evidence,
    places.place,
    asking.ask,
    resident.resident,
    identity.identity,
    policy.policy,
    keys.keys,
    log_keys.log_key,
    rules.rules,
    members.member,
    log.log,
    fsck.fsck,
    erasing.erase,
    backups.backup,
    backups.restore,
):
    main.add_command(command)
for command in (resident_proofs.show, resident_proofs.uses, resident_proofs.in_force, resident_proofs.stopped):
    resident.resident.add_command(command)
resident.resident.add_command(resident_agreeing.grant)
resident.resident.add_command(resident_ending.revoke)
resident.resident.add_command(lost_devices.lost_device)
resident.resident.add_command(resident_erasing.erase)
resident.resident.add_command(resident_erasing.erased)
resident.resident.add_command(resident_promises.check_promises)
resident.resident.add_command(resident_receipts.receipt)
