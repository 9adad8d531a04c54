"""Grounding DINO and its relatives: object queries chosen by the prompt."""
