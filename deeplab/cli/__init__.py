"""The command line: the only part of the project that imports hydra and omegaconf."""
