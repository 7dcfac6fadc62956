"""``dataflows key new``: a key that signs what notebooks publish to workers."""

from __future__ import annotations

import click

from dataflows_sdk.cli import screen


@click.group()
def key() -> None:
    """Make the key that signs workflows which are published to workers."""


@key.command()
def new() -> None:
    """Print a new random key of 256 bits.

    Give it to the processes that publish and to the workers as DATAFLOWS_KEY. To replace a key: DATAFLOWS_KEY=NEW,OLD
    everywhere, publish again, then take OLD away. It is stored nowhere.
    """
    from dataflows_sdk.publishing.keys import Keyring, new_key

    made = new_key()
    click.echo(made)
    screen.console(stderr=True).print(f"its id is {Keyring(made).ids[0]}", style="dim", soft_wrap=True)
