"""What settings of several jobs are made of: kinds of field, choices, groups of fields."""
