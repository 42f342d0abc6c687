"""The demo problem and its networks: generator, training, evaluation (see docs/demo-problem.md)."""
