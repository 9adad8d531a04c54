"""Sources, transforms and pipelines: numpy only."""
