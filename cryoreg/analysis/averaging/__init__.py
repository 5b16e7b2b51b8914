"""Class averages: subtomograms turned and shifted onto each other, in two halves that know nothing of one another."""
