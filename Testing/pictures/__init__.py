"""Pictures of the tutorial, made by the host: `python -m Testing.pictures.PART` makes those of a part anew."""
