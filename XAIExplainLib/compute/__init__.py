"""What makes the methods right and fast: the graph of a network, the walk back through it, memory, perturbations."""
