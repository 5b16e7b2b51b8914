"""ChimeraX for cryoreg: `cryoreg open` and `cryoreg chimerax`. Installing this package is all that is needed."""
