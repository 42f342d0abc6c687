"""Visual explanations: the survey's section 3.1, one method a file."""
