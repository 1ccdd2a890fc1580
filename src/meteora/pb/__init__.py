"""Generated from meteora-proto/proto by `make proto`. Never edited."""
