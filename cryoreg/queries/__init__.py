"""Queries: which subtomograms to label next."""
