"""Groups whose commands are imported when they are called: click's own way, from its page on complex applications.

Help and completion list commands that are not imported: their short help stands in the table, and
``tests/cli/test_light_start.py`` holds it against the commands' own.
"""

from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

Listed = dict[str, tuple[str, str]]
"""By a command's name: where it is, ``module:attribute``, and its short help."""


class LazyGroup(click.Group):
    """A group with a table of commands."""

    def __init__(self, *args: Any, listed: Listed | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.listed = listed or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self.listed})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; this is what imports it."""
        if cmd_name not in self.listed:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.listed[cmd_name][0].partition(":")
        found = getattr(import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"'{cmd_name}' is no command.")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by the table."""
        stubs = {name: self._stub(name) for name in self.list_commands(ctx)}
        click.Group(commands=stubs).format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name, or an option."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=self._stub(name).get_short_help_str()) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def _stub(self, name: str) -> click.Command:
        return click.Command(name, help=self.listed[name][1])
