"""The `cryoreg` command: a group whose subcommands are entry points, loaded when they are used."""

from __future__ import annotations
