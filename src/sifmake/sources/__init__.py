"""Where images come from: one small module per transport, one shape for all."""
