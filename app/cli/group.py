"""A group of commands whose errors are one line, and whose usage names the command as it was typed."""

import os

import click

from app.ops.printable import printable
from app.settings import SettingsError

LAUNCHER = "PEERSYNC_LAUNCHER"
"""The environment variable with the folder of the script that ran the command: bin/_run sets it."""


class Context(click.Context):
    """A context that knows how its command was typed."""

    @property
    def command_path(self) -> str:
        """Return `bin/NAME` for a command that a script in bin/ ran, else `python -m app NAME`."""
        launcher = os.environ.get(LAUNCHER)
        return f"{launcher}/{self.info_name}" if launcher and self.parent else super().command_path


class Command(click.Command):
    """A command of a group with one-line errors."""

    context_class = Context


class OneLineErrors(click.Group):
    """A group whose commands report what a person can act on, in one line."""

    command_class = Command
    context_class = Context

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Report settings and files that cannot be used as errors, without a traceback."""
        try:
            return super().invoke(ctx)
        except (SettingsError, FileExistsError) as error:
            raise click.ClickException(printable(str(error))) from None
        except click.UsageError as error:
            command = (error.ctx or ctx).command_path
            said = printable(error.format_message().rstrip("."))
            raise click.UsageError(f"{said}; {command} --help says more") from None
        except UnicodeEncodeError as error:
            raise click.ClickException(f"an argument is not UTF-8 text ({error.reason})") from None
        except OSError as error:
            raise click.ClickException(printable(f"{error.filename or 'system'}: {error.strerror or error}")) from None
