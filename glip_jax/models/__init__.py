"""Linen modules: arrays in, structs out."""
