"""What comes after pretraining: ways of learning classes from labelled subtomograms, and others."""
