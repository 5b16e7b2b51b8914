"""The version of cryoreg, and of what plugins build on. Below everything else, so that any module may say it."""

__version__ = "0.1.0"
PLUGIN_API = 1
"""The version of what plugins build on; `cryoreg.registry.plugin_api` says how a plugin declares its own."""
