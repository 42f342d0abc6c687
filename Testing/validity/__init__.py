"""What each method does on each kind of network, and how equal it is to its peers: ``python3 xai.py validity``."""
