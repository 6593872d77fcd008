"""Folding: decodes the messages of the inbox and folds them into their orders."""
