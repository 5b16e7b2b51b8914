"""A convolutional autoencoder for cryoreg. Installing this package is all that is needed: `--method autoencoder`."""
