"""The command line, ``musubi``.

Every command has ``--help`` with an example. An error is one sentence that says what to do, on standard error, and an
exit code of its own (``trust.problems``); ``--json`` gives the same as a problem document.
"""

import sys

import click

from ledger.errors import MusubiError
from trust.cli import asking, auditing, keys, policy, processes, resident, town
from trust.problems import kind_of


class _Musubi(click.Group):
    """Turns errors of the tree into one sentence and their exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MusubiError as error:
            click.echo(f"musubi: {error.message}", err=True)
            sys.exit(kind_of(error).exit_code)


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
    processes.serve,
    processes.node,
    processes.witness,
    auditing.audit,
    asking.ask,
    resident.resident,
    policy.policy,
    keys.keys,
):
    main.add_command(command)
