"""What tells a store of cryoreg from other HDF5 files."""

FORMAT = "cryoreg_store"
"""The attribute that marks a store; its value is the version of the format."""
