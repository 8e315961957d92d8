"""Networks that find boxes on the point features of any student, and how they learn."""
