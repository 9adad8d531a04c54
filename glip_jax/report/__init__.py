"""A page that says what an evaluation found, in one file of HTML."""
