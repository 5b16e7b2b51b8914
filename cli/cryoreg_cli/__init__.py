"""The `cryoreg` command. One thin file per subcommand; no logic."""
