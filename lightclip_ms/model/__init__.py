"""The two-tower model, and the parts that only training needs."""
