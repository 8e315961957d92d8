"""Stage one: what is asked for, what is missing, and how it goes through the teacher."""
