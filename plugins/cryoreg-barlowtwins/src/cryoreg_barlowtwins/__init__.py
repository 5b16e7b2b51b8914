"""Barlow Twins for cryoreg. Installing this package is all that is needed: `--method barlow_twins`."""
