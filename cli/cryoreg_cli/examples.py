"""An example of every command, which its --help shows; those of the README's path connect."""

from __future__ import annotations

EXAMPLES = {
    "average": "cryoreg average ribosome --data classes.star --output ribosome.mrc",
    "benchmark": "cryoreg benchmark gupta2022 --structures my_pdbs/",
    "check": "cryoreg check moco --set method.queue_size=16",
    "cluster": "cryoreg cluster --from rb3d_universe --data particles.star --output clusters.star",
    "completion": "cryoreg completion bash > ~/.local/share/bash-completion/completions/cryoreg",
    "convert": "cryoreg convert my_subtomograms/ --output set.h5",
    "demo": "cryoreg demo --run-dir runs/demo",
    "doctor": "cryoreg doctor --json > issue.json",
    "embed": "cryoreg embed --from rb3d_universe --data particles.star --output features.parquet",
    "evaluate": "cryoreg evaluate runs/few",
    "explain": "cryoreg explain runs/few --count 4 --output explained/",
    "export": "cryoreg export runs/few --classifier --output few.onnx",
    "extract": "cryoreg extract picks.star --tomograms tomograms/ --box 32 --output set.h5",
    "finetune": "cryoreg finetune --data particles.star --labels-from labels.csv --recipe best --run-dir runs/few",
    "help": "cryoreg help finetune",
    "init": "cryoreg init --tomograms tomograms/ --contrast dark --tilt-range -60 60",
    "inspect": "cryoreg inspect particles.star",
    "label": "cryoreg label particles.star --classes ribosome,proteasome",
    "list": "cryoreg list --kind method --verbose",
    "open": "cryoreg open classes.star --viewer imod",
    "pick": "cryoreg pick tomo.mrc --diameter 120 --output picks.star",
    "plugin": "cryoreg new plugin mine --kind method",
    "predict": "cryoreg predict runs/few --data particles.star --output classes.star",
    "pretrain": "cryoreg pretrain --data particles.star --recipe best --run-dir runs/pre",
    "preview": "cryoreg preview particles.star --augmentation cryoet --output preview.png",
    "report": "cryoreg report --from rb3d_universe --data particles.star --output map.html",
    "select": "cryoreg select classes.star --class ribosome --min-confidence 0.9 --output ribosomes.star",
    "show": "cryoreg show method moco",
    "simulate": "cryoreg simulate --structures my_pdbs/ --per-class 100 --output sim.h5",
    "suggest": "cryoreg suggest --from rb3d_universe --data particles.star --labels-from labels.csv --count 20",
    "view": "cryoreg view particles.star --count 4 --output view.png",
}
"""Name of the command -> a line to be copied."""
