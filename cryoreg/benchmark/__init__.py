"""Comparisons of methods on data with known classes."""
