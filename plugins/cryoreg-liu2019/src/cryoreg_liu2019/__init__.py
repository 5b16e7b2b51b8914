"""An autoencoding classifier for cryoreg. Installing it is all that is needed: `--learner autoencoding_classifier`."""
