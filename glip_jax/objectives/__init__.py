"""What a model is trained and decoded with: pure functions over Outputs."""
