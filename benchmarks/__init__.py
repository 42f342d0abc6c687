"""How fast, against captum and MONAI on the same network, image and machine, in one run."""
