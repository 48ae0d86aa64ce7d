"""The commands, a file for each part of the pipeline; `edgefsa.cli` puts them together."""
