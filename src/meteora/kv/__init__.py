"""What replicated commands mean: their encoding, the state machine that applies them, and its clients' sessions."""
