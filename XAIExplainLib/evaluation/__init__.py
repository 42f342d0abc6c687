"""Tests that tell a good explanation from a pretty one: the survey's sections 4 and 5."""
