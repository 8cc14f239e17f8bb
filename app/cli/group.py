"""A group of commands whose errors are one line."""

import click

from app.ops.printable import printable
from app.settings import SettingsError


class OneLineErrors(click.Group):
    """A group whose commands report what a person can act on, in one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; settings and files that cannot be used are the person's to mend."""
        try:
            return super().invoke(ctx)
        except (SettingsError, FileExistsError) as error:
            raise click.ClickException(printable(str(error))) from None
        except click.UsageError as error:
            command = f"bin/{error.ctx.info_name}" if error.ctx and error.ctx.parent else "python -m app"
            said = printable(error.format_message().rstrip("."))
            raise click.UsageError(f"{said}; {command} --help says more") from None
        except UnicodeEncodeError as error:
            raise click.ClickException(f"an argument is not text in UTF-8 ({error.reason})") from None
        except OSError as error:
            raise click.ClickException(printable(f"{error.filename or 'system'}: {error.strerror or error}")) from None
