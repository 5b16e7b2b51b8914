"""copick projects for cryoreg. Installing this package is all that is needed: `--dataset copick`."""
