"""What facts mean: one rule is an id, a title, why, a remedy and a pure function."""
