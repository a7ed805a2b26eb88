"""What `scripts/compare` is made of: contestants, the thin load, tables; and one module for each of its modes."""
