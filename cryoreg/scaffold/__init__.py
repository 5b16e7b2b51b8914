"""A new plugin package that works at once: `cryoreg new plugin`."""
