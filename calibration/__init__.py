"""Saved activation ranges of the shipped models, and the recipes that they were made by."""
