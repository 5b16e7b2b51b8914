"""Few-shot domain adaptation for cryoreg. Installing it is all that is needed: `--learner few_shot_adaptation`."""
