"""The program: its commands by name, and the exit statuses that they share.

Knows what each command is for, not how it is done: that is imported with the first command
that runs, so that help and version wait for nothing but click.
"""

from __future__ import annotations

from typing import Final

import click

from bcpatch import __version__

NAME: Final = "bcpatch"

DONE: Final = 0
REFUSED: Final = 1
WRONG: Final = 2
UNCHANGED: Final = 3
INTERRUPTED: Final = 128 + 2
BROKEN_PIPE: Final = 128 + 13

#: What each command's own help begins with.
SUMMARIES: Final = {
    "apply": "Apply a patch file to running processes.",
    "audit": "Say which commits of a git history could have been live patches, and why not the others.",
    "build": "Compile what changed in PATH into a patch file.",
    "demo": "Patch a running web server before your eyes.",
    "ps": "List the processes of this user that take patches.",
    "rollback": "Bring a process back to an older generation, or forward again to a newer one.",
    "run": "Start an application and make every saved edit live in it.",
    "show": "Tell what a patch file says of itself: its header and its edits.",
    "status": "Tell a process's generations, and where every patched function of it stands.",
    "verify": "Find what `build` would find in PATH, or check patch files; write nothing.",
}


class Program(click.Group):
    """A group whose commands are there once one of them is asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from bcpatch.cli import commands  # noqa: F401 (each adds itself to the group below)

        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(SUMMARIES)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def bcpatch() -> None:
    """Compile a change to Python source into a verified patch, and load it into running processes."""
