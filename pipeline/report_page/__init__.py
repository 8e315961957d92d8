"""What a report is made of: one HTML page that needs nothing beside it."""
