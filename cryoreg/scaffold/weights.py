"""The encoder of a finished run as a package publishes it."""

from __future__ import annotations

from pathlib import Path

from cryoreg.errors import CheckpointError
from cryoreg.weights_header import describe_card


def told_of(run: Path) -> dict[str, object]:
    """Return what the package's texts tell of a run's encoder; raise `CheckpointError` where it cannot be published."""
    from cryoreg.runs.cards import portable, unsaid
    from cryoreg.runs.networks import open_network

    path, card = open_network(run, "encoder")[:2]
    if missing := unsaid(card):
        settings = " and ".join(f"--set dataset.{name}=..." for name in missing)
        raise CheckpointError(
            f"{path}: its card does not say {' and '.join(missing)}, which its users must know; train with {settings}"
        )
    facts = {name: text for name, text in describe_card(portable(card, path)).items() if text}
    encoder = card["config"]["encoder"]["name"]
    summary = f"{encoder}, trained for voxels of {facts['voxel size']} in boxes of {facts['box']}."
    return {"summary": summary, "facts": facts}


def export(run: Path, file: Path) -> None:
    """Write a run's encoder without the paths of this machine, in float16 unless that changes its features."""
    from cryoreg.inference.network_export import run_export

    try:
        run_export(run, file, half=True, portable=True)
    except CheckpointError:
        run_export(run, file, portable=True)
