"""Values that every layer shares: types and pure functions, no input or output."""
