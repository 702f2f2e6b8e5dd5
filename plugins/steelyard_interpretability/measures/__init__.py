"""What an explanation is worth: pure functions over a question to a model, and the explanation's units."""
