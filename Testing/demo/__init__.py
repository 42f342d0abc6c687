"""The demonstration: a real brain, a network, four explanations, the panel, and one page that shows them."""
