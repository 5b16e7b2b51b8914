"""Studies that cryoreg brings: TOML files, which `cryoreg benchmark NAME` runs."""

from pathlib import Path

DU2021 = Path(__file__).with_name("du2021.toml")
GUPTA2022_REAL = Path(__file__).with_name("gupta2022-real.toml")
GUPTA2022_SIM = Path(__file__).with_name("gupta2022-sim.toml")
SMOKE = Path(__file__).with_name("smoke.toml")
