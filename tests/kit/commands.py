"""All commands of the command line, as whoever calls them finds them: they are imported when they are looked up."""

import click


def commands_of(group: click.Group) -> dict[str, click.Command]:
    """Return the commands right below a group, by name."""
    here = click.Context(group)
    found = {name: group.get_command(here, name) for name in group.list_commands(here)}
    return {name: command for name, command in found.items() if command is not None}
